"""What a GPU does with the bundles in export/: libraries, placement of nodes, repeated bits, leaked memory, and times.

``python benchmarks/gpu_proof.py --output proof.json [--batches 1,64,1024,8192] [--steps 300] [--bundles lif,...]``

``gpu_proof.sh`` runs the tests marked cuda before it. Without a GPU that nvidia-smi lists, each part runs for a few steps
and no time is recorded: so the script itself can be tried on a stand-in for CUDA's libraries, and no figure can come from
one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.errors import Unavailable
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes import find_runtime, unavailable_reason
from deploy_snn.tensors import Arrays

EXPORT = Path(__file__).parent.parent / "export"
CUDA = [name for name, entry in RUNTIMES.entries.items() if entry.cuda]
SEQUENCE = 50
NO_GPU = "not measured: no GPU"


def gpu_name() -> str | None:
    """The name and the driver of the first GPU, or None."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None


def draw(bundle: Bundle, rng: np.random.Generator, batch: int, steps: int | None = None) -> Arrays:
    """A step's inputs, or those of a sequence: noise from 0 to 1, drives from 0 to 25."""
    time_axis = () if steps is None else (steps,)
    return {
        spec.name: rng.random((*time_axis, *spec.shape(batch=batch)), np.float32) * (1 if spec.role == "noise" else 25)
        for spec in bundle.contract.inputs
    }


def libraries() -> dict[str, Any]:
    """Versions, the reason why each runtime is missing, and the libraries that are loaded."""
    reasons = {name: unavailable_reason(name) for name in CUDA}
    parts = ("cudart", "cublas", "cudnn", "libcuda.so", "curand", "providers_cuda", "torch_cuda")
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = sorted({line.split()[-1] for line in maps if any(part in line for part in parts)})
    return {"onnxruntime": ort.__version__, "torch": torch.__version__, "missing": reasons, "loaded": loaded}


def placement(bundle: Bundle) -> dict[str, list[str]]:
    """The operators of each graph that run on the CPU, and the copies between host and device that are nodes."""
    found = {}
    find_runtime("onnxruntime-cuda")(bundle)  # raises Unavailable, with the cause, if the graph needs what is missing
    providers = RUNTIMES["onnxruntime-cuda"].providers
    for graph, steps in (("step.onnx", None), ("sequence.onnx", 3)):
        with tempfile.TemporaryDirectory() as folder:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/profile"
            session = ort.InferenceSession(bundle.file(graph), options, providers=providers, enable_fallback=0)
            session.run(None, {**draw(bundle, np.random.default_rng(0), 2, steps), **bundle.initial_state(2)})
            events = [event.get("args", {}) for event in json.loads(Path(session.end_profiling()).read_text())]
        found[graph] = sorted(
            {
                event["op_name"]
                for event in events
                if event.get("provider") == "CPUExecutionProvider" or "Memcpy" in event.get("op_name", "")
            }
        )
    return found


def repeated(bundle: Bundle, runtime: str) -> dict[str, Any]:
    """Whether six runs have the same bits, and the device memory that sessions leave behind, in MiB."""
    inputs, first, free = draw(bundle, np.random.default_rng(1), 8, SEQUENCE), {}, [0]
    same = True
    for _ in range(6):
        opened = find_runtime(runtime)(bundle)
        opened.start(bundle.initial_state(8))
        results = {**opened.run(inputs), **{f"next.{name}": array for name, array in opened.state().items()}}
        del opened
        first = first or results
        same = same and all(np.array_equal(first[name], array) for name, array in results.items())
        if torch.cuda.is_available():
            free.append(torch.cuda.mem_get_info()[0])
    leaked = (free[2] - free[-1]) / 2**20 if len(free) > 2 else "not measured: torch has no CUDA here"
    return {"same bits": same, "leaked MiB": leaked}


def times(bundle: Bundle, runtime: str, batch: int, steps: int) -> dict[str, float]:
    """The median time of a step, and of a step in a sequence, in microseconds."""
    rng = np.random.default_rng(0)
    now, sequence = draw(bundle, rng, batch), draw(bundle, rng, batch, SEQUENCE)
    opened = find_runtime(runtime)(bundle)
    opened.start(bundle.initial_state(batch))

    def clock(call: Callable[[], object], calls: int) -> float:
        for _ in range(5):
            call()
        measured = []
        for _ in range(calls):
            begin = time.perf_counter()
            call()
            measured.append(time.perf_counter() - begin)
        return round(1e6 * median(measured), 1)

    return {
        "step us": clock(lambda: opened.step(now), steps),
        "step in a sequence us": round(clock(lambda: opened.run(sequence), max(3, steps // SEQUENCE)) / SEQUENCE, 1),
    }


def tried(measure: Callable[[], object]) -> str:
    """Run a measurement without its figures."""
    measure()
    return NO_GPU


class Proof:
    """The results by title, written to a file after each part. A part that fails is recorded, and the others go on."""

    def __init__(self, output: Path, gpu: str | None) -> None:
        self.output = output
        self.results: dict[str, Any] = {"gpu": gpu or "none: this proves nothing about a GPU"}
        self.status = 0

    def part(self, title: str, call: Callable[[], Any]) -> None:
        """Run a part. The exit status becomes 3 if something is missing for it, and 1 if it fails."""
        try:
            self.results[title] = call()
        except Unavailable as error:
            self.results[title], self.status = f"unavailable: {error}", self.status or 3
        except Exception as error:  # noqa: BLE001
            self.results[title], self.status = f"failed: {type(error).__name__}: {str(error)[:500]}", 1
        print(f"{title}: {self.results[title]}", flush=True)
        self.output.write_text(json.dumps(self.results, indent=1) + "\n")


def main() -> int:
    """Run every part. Gives 0, 1 if a part failed, or 3 if something was missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("proof.json"))
    parser.add_argument("--bundles", default=",".join(sorted(path.parent.name for path in EXPORT.glob("*/manifest.json"))))
    parser.add_argument("--batches", default="1,64,1024,8192")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    usable = [name for name in CUDA if not unavailable_reason(name)]
    if not usable:
        print("no runtime can use CUDA here", file=sys.stderr)
        return 3
    gpu = gpu_name()
    ort.set_default_logger_severity(4)  # errors are raised as exceptions
    bundles = {name: Bundle.open(EXPORT / name) for name in options.bundles.split(",")}
    proof = Proof(options.output, gpu)
    proof.part("libraries", libraries)
    for name, bundle in bundles.items():
        if "onnxruntime-cuda" in usable:
            proof.part(f"placement {name}", partial(placement, bundle))
        for runtime in usable:
            proof.part(f"repeated {name} {runtime}", partial(repeated, bundle, runtime))
    timed = [name for name in ("lif", "diehl_cook_2015") if name in bundles]
    for name, batch, runtime in product(timed, map(int, options.batches.split(",")), ("onnxruntime-cpu", *usable)):
        measure = partial(times, bundles[name], runtime, batch, options.steps if gpu else 2)
        proof.part(f"times {name} batch {batch} {runtime}", measure if gpu else partial(tried, measure))
    return proof.status


if __name__ == "__main__":
    sys.exit(main())
