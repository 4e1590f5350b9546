"""What a step costs in each host at batch 1, with its tail: Python's, and the C++ hosts'. One thread, one run.

``make hosts && python benchmarks/hosts.py [--steps 100000] [--rounds 3] [--jemalloc LIBRARY] [--markdown FILE]``
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from tables import Table, micros

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime

ROOT = Path(__file__).parent.parent
ONNXRUNTIME = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*"))
DISTINCT = 1000  # steps of input that are drawn before the clock runs, and used again and again
ALL = ["onnx", "torchscript", "aoti"]
CASES = {
    "LIF, N = 100": ("lif", {"n": 100}, None),
    "Diehl & Cook, 784 -> 400": (str(ROOT / "models" / "diehl_cook_2015.py"), {"n": 400, "n_input": 784}, 14),
}


@dataclass(frozen=True)
class Times:
    """Microseconds a step: of single steps, and of a step within a sequence."""

    p50: float
    p99: float
    p999: float
    largest: float
    sequence: float


def in_cpp(program: Path, *options: object, preload: Path | None = None) -> Callable[[Bundle, int], Times]:
    """A C++ host's own measurement: the clock runs around ``Program::step`` alone. ``preload`` is another malloc."""
    environment = os.environ | ({"LD_PRELOAD": str(preload)} if preload else {})

    def measure(bundle: Bundle, steps: int) -> Times:
        command = [program, "bench", bundle.path, "--steps", steps, "--json", *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, env=environment)
        found = json.loads(done.stdout)
        return Times(**{name: found[name] for name in ("p50", "p99", "p999", "largest", "sequence")})

    return measure


def in_python(name: str) -> Callable[[Bundle, int], Times]:
    """One of our runtimes, called from Python: numpy arrays in, numpy arrays out."""

    def measure(bundle: Bundle, steps: int) -> Times:
        runtime, rng = find_runtime(name)(bundle), np.random.default_rng(0)
        inputs = {}
        for spec in bundle.contract.inputs:
            drawn = rng.random((DISTINCT, *spec.shape(batch=1)), np.float32)
            inputs[spec.name] = drawn if spec.role == "noise" else (drawn < 0.1).astype(np.float32)
        now = [at(inputs, step) for step in range(DISTINCT)]
        runtime.start(bundle.initial_state(1))
        times = []
        for step in range(-DISTINCT, steps):
            begun = time.perf_counter_ns()
            runtime.step(now[step % DISTINCT])
            times.append(time.perf_counter_ns() - begun)
        single = np.sort(times[DISTINCT:]) / 1e3
        runs = []
        for _ in range(5):
            begun = time.perf_counter_ns()
            runtime.run(inputs)
            runs.append((time.perf_counter_ns() - begun) / 1e3 / DISTINCT)
        p50, p99, p999 = (float(np.quantile(single, part)) for part in (0.5, 0.99, 0.999))
        return Times(p50, p99, p999, float(single[-1]), min(runs))

    return measure


def bare(program: Path) -> Callable[[Bundle], tuple[float, float]]:
    """ONNX Runtime's own call, bound once, and our step around it: medians of rounds in one process."""

    def measure(bundle: Bundle) -> tuple[float, float]:
        command = [str(program), str(bundle.path), str(ONNXRUNTIME), "2000"]
        cost = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return cost["bare"]["us"], cost["step"]["us"]

    return measure


def case(title: str, build: Path, jemalloc: Path | None, steps: int, rounds: int) -> tuple[Table, str]:
    """Measure one model in every host. Hosts alternate in each round; the round with the median p50 counts."""
    model, options, snap = CASES[title]
    contenders = {
        "Python, eager": in_python("eager"),
        "Python, onnxruntime": in_python("onnxruntime-cpu"),
        "snn-torch": in_cpp(build / "snn-torch"),
        "snn-torch --aoti": in_cpp(build / "snn-torch", "--aoti"),
        "snn-ort": in_cpp(build / "snn-ort", "--onnxruntime", ONNXRUNTIME),
    }
    if jemalloc:
        contenders |= {
            "snn-torch, jemalloc": in_cpp(build / "snn-torch", preload=jemalloc),
            "snn-torch --aoti, jemalloc": in_cpp(build / "snn-torch", "--aoti", preload=jemalloc),
        }
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_model(model, options, Path(folder) / "bundle", formats=ALL, golden_steps=2, snap=snap)
        seen: dict[str, list[Times]] = {name: [] for name in contenders}
        calls = []
        for _ in range(rounds):
            for name, measure in contenders.items():
                seen[name].append(measure(bundle, steps if name.startswith("snn") else steps // 5))
            calls.append(bare(build / "step_cost")(bundle))
    rows = []
    for name, times in seen.items():
        middle = sorted(times, key=lambda found: found.p50)[len(times) // 2]
        values = (middle.p50, middle.p99, middle.p999, middle.largest, middle.sequence)
        rows.append([name, *map(micros, values)])
    alone, ours = (median(column) for column in zip(*calls, strict=True))
    ratio = median(step / call for call, step in calls)
    line = f"{title}: the bare call of ONNX Runtime {micros(alone)} µs, snn-ort's step {micros(ours)}: {ratio:.2f} times"
    return Table(title, ["µs a step", "p50", "p99", "p99.9", "largest", "in a sequence"], rows), line


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "serve" / "cpp" / "build")
    parser.add_argument("--jemalloc", type=Path, help="its shared library: measure libtorch with it, too")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if not (options.build / "step_cost").exists():
        parser.error(f"{options.build} holds no build of the hosts: run make hosts")
    torch.set_num_threads(1)
    console = Console(width=120)
    console.print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; {options.steps} steps, batch 1")
    texts = []
    for title in CASES:
        table, line = case(title, options.build, options.jemalloc, options.steps, options.rounds)
        table.show(console)
        console.print(line)
        texts += [table.markdown(), line, ""]
    if options.markdown:
        options.markdown.write_text("\n".join(texts))


if __name__ == "__main__":
    main()
