"""``deploy-snn bench``: measure the time per step."""

import statistics
import time
from typing import TYPE_CHECKING

from deploy_snn.cli.options import Batch, BundlePath, RuntimeNames, names, one_thread
from deploy_snn.cli.table import console, table

if TYPE_CHECKING:
    from deploy_snn.runtimes import Runtime
    from deploy_snn.tensors import Arrays

ROUNDS = 7
SECONDS_PER_ROUND = 0.2


def bench(bundle: BundlePath, runtime: RuntimeNames = None, batch: Batch = 1) -> None:
    """Measure microseconds per step. Inputs and outputs are in host memory; the runtime keeps the state."""
    from deploy_snn.bundle import Bundle
    from deploy_snn.bundle.trace import at
    from deploy_snn.parity import Request, make_stimulus
    from deploy_snn.reference import reference_program
    from deploy_snn.runtimes import find_runtime, usable_runtimes

    one_thread()
    opened = Bundle.open(bundle)
    program = reference_program(opened)
    stimulus = make_stimulus("poisson", Request(program, 200, batch, 0))
    inputs = [at(stimulus.inputs, step) for step in range(200)]
    rows = []
    for name in names(runtime) or ["eager", *usable_runtimes(opened)]:
        stepper = find_runtime(name)(opened)
        stepper.start(stimulus.start)
        times = time_steps(stepper, inputs)
        median = statistics.median(times)
        rows.append([name, f"{median:.1f}", f"{min(times):.1f}", f"{max(times):.1f}", f"{1e6 * batch / median:,.0f}"])
    title = f"{opened.manifest.name}, batch {batch}: microseconds per step, {ROUNDS} rounds, one thread"
    columns = ["runtime", "median", "min", "max", "rows/s"]
    console().print(table(title, columns, rows, right=columns[1:]))


def time_steps(stepper: "Runtime", inputs: "list[Arrays]") -> list[float]:
    """Measure microseconds per step in each round, after a warm-up round."""
    times = []
    for _ in range(ROUNDS + 1):
        steps, start_time = 0, time.perf_counter()
        while time.perf_counter() - start_time < SECONDS_PER_ROUND:
            for now in inputs[:50]:
                stepper.step(now)
            steps += 50
        times.append((time.perf_counter() - start_time) / steps * 1e6)
    return times[1:]
