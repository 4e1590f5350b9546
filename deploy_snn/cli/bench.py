"""``deploy-snn bench``: measure the time per step."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy_snn.cli.json_file import JsonFile, write_json
from deploy_snn.cli.model import Model, check_runtimes, opening
from deploy_snn.cli.options import Dt, N, RuntimeNames, Set, Shape, names, one_thread
from deploy_snn.cli.run import InputSeed, read_inputs
from deploy_snn.cli.table import console, table
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from deploy_snn.bundle import Bundle
    from deploy_snn.runtimes import Runtime
    from deploy_snn.tensors import Arrays

WARM_UP = 0.2
SECONDS = 1.0
"""How long each runtime is measured, in each mode."""
FEWEST = 5
"""The number of measurements of a mode, however long they take."""
STEPS = 200
"""The number of steps of the input that is drawn."""


def bench(
    model: Model,
    *,
    runtime: RuntimeNames = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="A recording to measure with, as `run` takes it: a .safetensors file with the inputs, [T, B, ...].",
            show_default="random spikes",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Number of rows in the batch.", show_default="1, or that of --input"),
    ] = None,
    seed: InputSeed = None,
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    json_file: JsonFile = None,
) -> None:
    """Measure microseconds per step, one step a call and a whole sequence a call, with one thread.

    Inputs and outputs are in host memory; the runtime keeps the state. The share of inputs that are not 0 is shown, as the
    time of some runtimes depends on it.
    """
    from deploy_snn.bundle.trace import at
    from deploy_snn.runtimes import find_runtime, usable_runtimes

    one_thread()
    requested = names(runtime)
    check_runtimes(requested or [], [model])
    records: list[dict[str, Any]] = []
    with ExitStack() as stack:
        options = {"n": n, "shape": shape, "dt": dt, "sets": sets, "seed": seed or 0}
        opened = opening(model, stack, golden_steps=0, **options)()  # type: ignore[arg-type]
        chosen = {name: find_runtime(name, opened) for name in requested or [*_eager(), *usable_runtimes(opened)]}
        sequence, start = _inputs(opened, inputs, batch, seed)
        steps, rows = next(iter(sequence.values())).shape[:2]
        share = input_share(opened, sequence)
        one_step = [at(sequence, step) for step in range(steps)]
        for name, runtime_class in chosen.items():
            stepper = runtime_class(opened)
            for mode, times in (("step", _steps(stepper, start, one_step)), ("sequence", _runs(stepper, start, sequence))):
                median, late = statistics.median(times), _percentile_99(times)
                measured = {"runtime": name, "mode": mode, "batch": rows, "median_us": median, "p99_us": late}
                records.append(measured | {"model": opened.name, "steps": steps, "input_share": share})
    if json_file is not None:
        write_json(json_file, records)
    if str(json_file) == "-":
        return
    title = (
        f"{opened.manifest.name}, batch {rows}: microseconds per step, one thread; {100 * share:.1f} % of the inputs spiked"
    )
    columns = ["runtime", "mode", "median", "p99", "rows/s"]
    shown = (
        [r["runtime"], r["mode"], f"{r['median_us']:.1f}", f"{r['p99_us']:.1f}", f"{1e6 * rows / r['median_us']:,.0f}"]
        for r in records
    )
    console().print(table(title, columns, shown, right=columns[2:]))


def _eager() -> list[str]:
    """The reference runtime, if torch is installed."""
    from deploy_snn.runtimes.find import EAGER, unavailable_reason

    return [] if unavailable_reason(EAGER) else [EAGER]


def input_share(bundle: "Bundle", sequence: "Arrays") -> float:
    """The share of the drives' elements that are not 0."""
    from deploy_snn.contract import Role

    drives = [sequence[spec.name] for spec in bundle.contract.inputs if spec.role is Role.DRIVE]
    elements = sum(drive.size for drive in drives)
    return sum(int((drive != 0).sum()) for drive in drives) / elements if elements else 0.0


def _inputs(bundle: "Bundle", path: Path | None, batch: int | None, seed: int | None) -> "tuple[Arrays, Arrays]":
    """The inputs to measure with, ``[T, B, ...]``, and the initial state."""
    from deploy_snn.contract import check_tensors
    from deploy_snn.parity import Request, make_stimulus
    from deploy_snn.reference import reference_program
    from deploy_snn.tensors import check_finite

    if path is None:
        stimulus = make_stimulus("poisson", Request(reference_program(bundle), STEPS, batch or 1, seed or 0))
        return stimulus.inputs, stimulus.start
    sequence, _ = read_inputs(bundle, path, seed)
    sizes = check_tensors((spec.in_time() for spec in bundle.contract.inputs), sequence, "input")
    check_finite(sequence, "input")
    if batch not in (None, sizes["batch"]):
        raise InvalidInput(f"--batch {batch}: {path} has a batch of {sizes['batch']}")
    return sequence, bundle.initial_state(sizes["batch"])


def _steps(stepper: "Runtime", start: "Arrays", inputs: "list[Arrays]") -> list[float]:
    """Microseconds of each step, one a call. The recording is repeated."""
    stepper.start(start)
    place = 0

    def step() -> None:
        nonlocal place
        stepper.step(inputs[place])
        place = (place + 1) % len(inputs)

    return _measure(step)


def _runs(stepper: "Runtime", start: "Arrays", sequence: "Arrays") -> list[float]:
    """Microseconds per step of each run of the whole recording in one call."""
    stepper.start(start)
    steps = len(next(iter(sequence.values())))
    return [taken / steps for taken in _measure(lambda: stepper.run(sequence))]


def _measure(call: Callable[[], object]) -> list[float]:
    """Microseconds of each call, after a warm-up."""
    begin = time.perf_counter()
    call()
    while time.perf_counter() - begin < min(WARM_UP, SECONDS):
        call()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < FEWEST or time.perf_counter() - begin < SECONDS:
        before = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - before) / 1e3)
    return times


def _percentile_99(times: list[float]) -> float:
    """The time that 99 % of the measurements do not exceed."""
    ordered = sorted(times)
    return ordered[-(-99 * len(ordered) // 100) - 1]
