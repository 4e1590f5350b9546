"""What the compiled step costs as one operator of ONNX Runtime and of libtorch, beside C itself: batch 1, one thread.

``python benchmarks/operators.py [--build FOLDER] [--steps 20000] [--rounds 3] [--markdown FILE]``

With the C++ hosts of ``make hosts`` the clock runs around a host's step alone; without them, around our runtimes in
Python. ONNX Runtime's operator needs its headers (``$ONNXRUNTIME_INCLUDE_DIR``), and is left out by name without them.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from hosts import ONNXRUNTIME, ROOT, Times, in_cpp, in_python
from rich.console import Console
from tables import Table, micros

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import TUNED, build_library
from deploy_snn.cli.export import export_model
from deploy_snn.cpus import cpus_here
from deploy_snn.ort_headers import find_ort_headers
from deploy_snn.runtimes import unavailable_reason
from deploy_snn.runtimes.torchscript_custom import link_flags

C, ONNX, TORCH = "C", "ONNX Runtime, one node", "libtorch, one operator"
RUNTIMES = {C: "c", ONNX: "onnxruntime-custom", TORCH: "torchscript-custom"}
MODEL = str(ROOT / "models" / "diehl_cook_2015.py")
CASES = {"LIF, N = 100": ("lif", {"n": 100}, None)} | {
    f"Diehl & Cook, 784 -> {n}": (MODEL, {"n": n, "n_input": 784}, 14) for n in (100, 400, 1600)
}
Measure = Callable[[Bundle, int], Times]


def library(bundle: Bundle, format_: str, source: str, flags: tuple[str, ...]) -> Path:
    """The library of a format's operator, built as its runtime builds it."""
    weights = bundle.manifest.formats[format_]["weights"]
    files: dict[str, str | bytes] = {source: bundle.file(source).read_text()}
    files |= {weights: bundle.file(weights).read_bytes()} if weights else {}
    return build_library(files, flags=(TUNED, *flags))


def in_hosts(bundle: Bundle, build: Path) -> dict[str, Measure]:
    """The C++ hosts, with the libraries of the bundle's operators."""
    operators = library(bundle, "torchscript-custom", "model.custom.c", link_flags())
    found = {
        C: in_cpp(build / "snn-c"),
        TORCH: in_cpp(build / "snn-torch", "--operators", operators),
        "libtorch, model.pt": in_cpp(build / "snn-torch"),
    }
    headers = find_ort_headers()
    if headers is None:
        return found
    node = library(bundle, "onnx-custom", "step.custom.c", (f"-I{headers}",))
    return found | {ONNX: in_cpp(build / "snn-ort", "--onnxruntime", ONNXRUNTIME, "--operators", node)}


def case(title: str, build: Path | None, steps: int, rounds: int) -> Table:
    """Measure one model. The contenders alternate in each round; the round with the median p50 counts."""
    model, options, snap = CASES[title]
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_model(
            model,
            options,
            Path(folder) / "bundle",
            formats=["c", "onnx-custom", "torchscript", "torchscript-custom"],
            format_options={"c": {"libraries": cpus_here()[:1]}},
            golden_steps=2,
            snap=snap,
        )
        if build is not None:
            contenders = in_hosts(bundle, build)
        else:
            usable = {label: name for label, name in RUNTIMES.items() if not unavailable_reason(name, bundle)}
            contenders = {label: in_python(name) for label, name in usable.items()}
        seen: dict[str, list[Times]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, measure in contenders.items():
                seen[name].append(measure(bundle, steps))
    middle = {name: sorted(times, key=lambda found: found.p50)[rounds // 2] for name, times in seen.items()}
    rows = [
        [name, micros(times.p50), micros(times.p50 - middle[C].p50), micros(times.p99), micros(times.sequence)]
        for name, times in middle.items()
    ]
    return Table(title, ["µs a step", "p50", "more than C", "p99", "in a sequence"], rows)


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, help="the folder of the C++ hosts; default: measure in Python")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    console = Console(width=140)
    tables = [case(title, options.build, options.steps, options.rounds) for title in CASES]
    for table in tables:
        table.show(console)
    if find_ort_headers() is None:
        console.print(f"left out: {ONNX} (the headers are not known)")
    if options.markdown:
        options.markdown.write_text("\n".join(table.markdown() for table in tables))


if __name__ == "__main__":
    main()
