"""Every bundle of ``export/`` on every other runtime: a Markdown table of what each computes.

Each group of packages is installed into an environment of its own, on top of the one that runs this script. There, a second
process of this script compares the runtimes with eager torch and measures them beside ONNX Runtime. onnx2tf, which converts
models for LiteRT, is a command with an environment of its own, which `make .venv/onnx2tf` sets up.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.cli.export import export_model
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.parity import ModelReport, Plan, Request, RunReport, compare_runtimes, make_stimulus
from deploy_snn.reference import reference_program
from deploy_snn.registry import FORMATS
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Arrays

ROOT = Path(__file__).parent.parent
BASIS = "onnxruntime-cpu"
CHUNK, CHUNKS = 20, 15


RESULTS = ROOT / ".venv" / "matrix"
ONNX2TF = ROOT / ".venv" / "onnx2tf"
"""The environment of the converter, with a newer Python."""


@dataclass(frozen=True)
class Environment:
    """Packages that are installed together, and the runtimes that need them.

    ``tool`` is a package that they call as a command, and its own environment.
    """

    packages: tuple[str, ...]
    runtimes: tuple[str, ...]
    tool: tuple[str, Path] | None = None


HERE = "toolkit"
ENVIRONMENTS = {
    HERE: Environment((), ("onnxruntime-cpu", "torchscript", "pt2", "c", "onnx-reference")),
    "executorch": Environment(("executorch",), ("executorch", "executorch-xnnpack")),
    "openvino": Environment(("openvino",), ("openvino", "openvino-default")),
    "iree": Environment(("iree-base-compiler", "iree-base-runtime"), ("iree", "iree-host")),
    "mnn": Environment(("MNN",), ("mnn", "mnn-default")),
    "litert": Environment(("ai-edge-litert",), ("litert",), ("onnx2tf", ONNX2TF)),
}
"""Each with its packages, in an environment of its own. The first is the environment of this script."""
NOT_RUN = "not run"


@dataclass
class Cell:
    """The result of one runtime on one bundle: a word for the table, the details, and the times of a step in seconds."""

    runtime: str
    model: str
    verdict: str
    details: str = ""
    seconds: float | None = None
    basis_seconds: float | None = None
    """That of BASIS, which took turns with the runtime."""


@dataclass
class Results:
    """The results of one environment."""

    versions: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    megabytes: dict[str, float] = field(default_factory=dict)
    """The installed size of the packages, and that of the tool."""


def compare(folder: Path, runtime: str, steps: int, *, speed: bool) -> Cell:
    """Compare one runtime on one bundle, in all modes, on all stimuli, with one row and with three."""
    cell = Cell(runtime, folder.name, "not possible")
    with tempfile.TemporaryDirectory() as other:
        try:
            bundle = with_files(Bundle.open(folder), runtime, Path(other) / folder.name)
            report = compare_runtimes(bundle, Plan(runtimes=[runtime], steps=steps, batch=(1, 3)))
        except (InvalidInput, Unavailable) as error:
            cell.details = str(error)
            return cell
        cell.verdict, cell.details = judge(report, runtime)
        if speed and cell.verdict not in {"not possible", "fails"}:
            cell.seconds, cell.basis_seconds = times(bundle, Bundle.open(folder), runtime)
    return cell


def with_files(bundle: Bundle, runtime: str, folder: Path) -> Bundle:
    """The bundle itself, or a new export of it if it lacks the files of the runtime, which some formats do not write."""
    files = set(find_runtime(runtime).files)
    if files <= bundle.manifest.files.keys():
        return bundle
    formats = [name for name in FORMATS if files & FORMATS[name].files.keys()]
    return export_model(str(bundle.path), {}, folder, formats=formats)


def judge(report: ModelReport, runtime: str) -> tuple[str, str]:
    """A word for the table, and where the first difference is."""
    runs = [run for run in report.runs if run.runtime == runtime]
    reasons = [skip.reason for skip in report.skipped if skip.what == runtime]
    if reasons:
        return "not possible", reasons[0]
    failed = next((run.error for run in runs if run.error is not None), None)
    if failed is not None:
        return "fails", failed
    wrong = [run for run in runs if not run.equal]
    largest = max((tensor.max_ulp or 0 for run in runs for tensor in run.tensors), default=0)
    if not wrong:
        notes = "; ".join(dict.fromkeys(note for run in runs for note in run.notes))
        return ("exact" if not largest else f"within rounding, {largest} ulp"), notes
    spikes = sum(wrong_spikes(run) for run in runs if run.mode == "free")
    first = min(wrong, key=lambda run: run.divergence.step if run.divergence else 0)
    divergence = first.divergence
    assert divergence is not None
    where = (
        f"`{divergence.tensor}` first at step {divergence.step} of {first.stimulus}, {first.mode}: "
        f"{divergence.actual} instead of {divergence.expected}; {spikes} wrong spikes in free mode"
    )
    return ("wrong spikes" if spikes else "states differ"), where


def wrong_spikes(run: RunReport) -> int:
    """The number of elements that differ in the spike outputs of a run."""
    return sum(tensor.differing for tensor in run.tensors if tensor.dtype == "bool")


def times(bundle: Bundle, basis: Bundle, runtime: str) -> tuple[float, float]:
    """The seconds of a step of a runtime and of BASIS, one row. They take turns; the fastest turn of each counts."""
    inputs = make_stimulus("poisson", Request(reference_program(basis), CHUNK, 1, 0)).inputs
    series = [at(inputs, step) for step in range(CHUNK)]
    opened = [find_runtime(runtime)(bundle), find_runtime(BASIS)(basis)]
    best = [float("inf"), float("inf")]
    for one in opened:
        one.start(basis.initial_state(1))
    for _ in range(CHUNKS):
        best = [min(seconds, turn(one, series)) for seconds, one in zip(best, opened, strict=True)]
    return best[0] / CHUNK, best[1] / CHUNK


def turn(runtime: Any, series: list[Arrays]) -> float:
    """The seconds of one turn."""
    begin = time.perf_counter()
    for inputs in series:
        runtime.step(inputs)
    return time.perf_counter() - begin


def measure(names: Iterable[str], bundles: list[Path], file: Path, steps: int, *, speed: bool) -> None:
    """Compare runtimes that can run in this environment. The results are written after each bundle."""
    torch.set_num_threads(1)
    results = Results()
    for name in names:
        results.flags[name] = flags_of(find_runtime(name))
        for folder in bundles:
            results.cells.append(compare(folder, name, steps, speed=speed))
            file.write_text(json.dumps(asdict(results)))
            print(f"{name} on {folder.name}: {results.cells[-1].verdict}", file=sys.stderr, flush=True)


def flags_of(kind: Any) -> str:
    """The settings of a runtime's class, as people would write them."""
    options = getattr(kind, "options", None)
    if options:
        return ", ".join(f"{key}={value}" for key, value in options.items())
    return " ".join(getattr(kind, "flags", ()))


def folder_of(name: str) -> Path:
    """The folder of an environment. It has a file ``done`` with the size of the packages in MB once they are installed."""
    return RESULTS / name


def install(name: str, packages: tuple[str, ...]) -> None:
    """Install packages into an environment of their own, unless it is there. Raises CalledProcessError if pip fails."""
    folder = folder_of(name)
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next(folder.glob("lib/python*/site-packages"))
        # Packages of the environment that runs this script are found, and not installed again.
        (site / "base.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
        before = size(site)
        command = [python, "-m", "pip", "install", "--quiet", "--no-warn-conflicts"]
        subprocess.run([*command, "--constraint", ROOT / "constraints.txt", *packages], check=True)
        (folder / "done").write_text(str((size(site) - before) / 1e6))


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def measure_there(name: str, arguments: argparse.Namespace) -> None:
    """Run this script in an environment, as a process of its own. A library that crashes costs only its own results."""
    wanted, file = ENVIRONMENTS[name], RESULTS / f"{name}.json"
    file.unlink(missing_ok=True)
    try:
        install(name, wanted.packages)
    except subprocess.CalledProcessError as error:
        print(f"{name}: {', '.join(wanted.packages)} cannot be installed: {error}", file=sys.stderr)
        return
    command = [folder_of(name) / "bin" / "python", __file__, "--measure", name, "--steps", str(arguments.steps)]
    command += ["--bundles", *arguments.bundles] + ([] if arguments.speed else ["--no-speed"])
    variables = {"DEPLOY_SNN_ONNX2TF": str(ONNX2TF / "bin" / "onnx2tf"), **os.environ}
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=variables)
    if done.returncode:
        print(f"{name}: the process ended with status {done.returncode}", file=sys.stderr)


def read_results(name: str) -> Results:
    """The last results of an environment; none if it was not run."""
    wanted, file = ENVIRONMENTS[name], RESULTS / f"{name}.json"
    if not file.exists():
        return Results()
    data = json.loads(file.read_text())
    results = Results(flags=data["flags"], cells=[Cell(**cell) for cell in data["cells"]])
    if wanted.packages:
        folder = folder_of(name)
        results.versions = versions_in(folder, wanted.packages)
        results.megabytes[""] = float((folder / "done").read_text())
    if wanted.tool is not None and (wanted.tool[1] / "bin").exists():
        tool, folder = wanted.tool
        results.versions |= versions_in(folder, (tool,))
        results.megabytes[tool] = size(folder) / 1e6
    return results


def versions_in(folder: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in an environment."""
    code = f"from importlib.metadata import version\nfor p in {packages!r}: print(version(p))"
    found = subprocess.run([folder / "bin" / "python", "-c", code], check=True, capture_output=True, text=True)
    return dict(zip(packages, found.stdout.split(), strict=True))


def page(results: dict[str, Results], arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the Markdown page."""
    cells = {(cell.runtime, cell.model): cell for result in results.values() for cell in result.cells}
    runtimes = [runtime for name in results for runtime in ENVIRONMENTS[name].runtimes]
    models = list(dict.fromkeys(model for _, model in cells))
    yield "# Matrix of models and runtimes\n"
    yield "`make matrix` writes this page. [runtimes.md](runtimes.md) explains the settings and the differences.\n"
    yield (
        f"Each cell compares one bundle of `export/` with eager torch: {arguments.steps} steps of each stimulus (poisson, "
        "threshold), with 1 and 3 rows, in the modes locked, free and sequence. *exact*: all bits are equal. *within "
        "rounding*: the contract names a rounding, and floats differ within its tolerance. *states differ*: floats differ "
        "where bits must be equal, no spike does in free mode. *wrong spikes*: spikes differ in free mode.\n"
    )
    yield f"On {cpu_name()}, Python {platform.python_version()}, torch {version('torch')}, {basis_version()}.\n"
    yield "| model | " + " | ".join(runtimes) + " |"
    yield "|---|" + "---|" * len(runtimes)
    for model in models:
        yield f"| {model} | " + " | ".join(verdict(cells.get((runtime, model))) for runtime in runtimes) + " |"
    yield "\n## Runtimes\n"
    heading = f"µs a step | {BASIS} beside it, µs | {BASIS} = 1 | " if arguments.speed else ""
    yield f"| runtime | packages | installed, MB | {heading}settings |"
    yield "|---|---|---|" + ("---|---|---|" if arguments.speed else "") + "---|"
    for result in results.values():
        for runtime in dict.fromkeys(cell.runtime for cell in result.cells):
            packages = ", ".join(f"{name} {number}" for name, number in result.versions.items()) or "as above"
            megabytes = ", ".join(f"{mb:.0f}{tool and f' for {tool}'}" for tool, mb in result.megabytes.items())
            shown = speeds([c for c in result.cells if c.runtime == runtime]) if arguments.speed else []
            yield "| " + " | ".join([runtime, packages, megabytes, *shown, result.flags.get(runtime, "")]) + " |"
    yield "\nThe installed size is that of the packages and what they need beyond the toolkit, torch and ONNX Runtime.\n"
    if arguments.speed:
        yield (
            "Times are those of a step with one row, called from Python: the least and the most of all bundles, and their "
            f"median. {BASIS} took turns with each runtime, in the same process; the fastest turn of each counts.\n"
        )
        yield f"Load of the machine at the end of the run: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n"
    else:
        yield "Speed was not measured (`--no-speed`): the machine was busy.\n"
    yield "## Details\n"
    for runtime in runtimes:
        for model in models:
            cell = cells.get((runtime, model))
            if cell is not None and cell.details:
                yield f"- {runtime} on {model}: {cell.verdict}: {cell.details}"


def speeds(cells: list[Cell]) -> list[str]:
    """The times of a runtime on all bundles, those of BASIS beside it, and the quotients."""
    timed = [(c.seconds, c.basis_seconds) for c in cells if c.seconds is not None and c.basis_seconds is not None]
    return [
        span([a * 1e6 for a, _ in timed]),
        span([b * 1e6 for _, b in timed]),
        span([a / b for a, b in timed]),
    ]


def span(values: list[float]) -> str:
    """The least and the most of some numbers, and their median."""
    if not values:
        return ""
    least, most, median = (
        f"{value:.{2 if value < 10 else 0}f}" for value in (min(values), max(values), statistics.median(values))
    )
    return f"{least} to {most}, median {median}"


def verdict(cell: Cell | None) -> str:
    """The word for a cell of the table."""
    return NOT_RUN if cell is None else cell.verdict


def cpu_name() -> str:
    """The name of the CPU, and those of its extensions that decide about rounding."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    known = dict(tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    extensions = [flag for flag in ("fma", "avx512_bf16", "amx_bf16") if flag in known.get("flags", "").split()]
    return f"{known.get('model name', platform.machine())} ({', '.join(extensions)})"


def basis_version() -> str:
    """ONNX Runtime's package and version."""
    import onnxruntime  # noqa: PLC0415

    return f"onnxruntime {onnxruntime.__version__}"


def main() -> None:
    """Compare everything and write the page, or run the part of one environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    folders = sorted(str(path.parent) for path in (ROOT / "export").glob("*/manifest.json"))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "matrix.md")
    parser.add_argument("--bundles", nargs="+", default=folders)
    parser.add_argument(
        "--environments",
        nargs="*",
        default=list(ENVIRONMENTS),
        choices=list(ENVIRONMENTS),
        help="those to run again; of the others, the last results count",
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--no-speed", dest="speed", action="store_false")
    parser.add_argument("--measure", choices=list(ENVIRONMENTS), help="compare only, in this process")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    bundles = [Path(bundle) for bundle in arguments.bundles]
    if arguments.measure:
        name, file = arguments.measure, RESULTS / f"{arguments.measure}.json"
        measure(ENVIRONMENTS[name].runtimes, bundles, file, arguments.steps, speed=arguments.speed)
        return
    for name in arguments.environments:
        if name == HERE:
            measure(ENVIRONMENTS[name].runtimes, bundles, RESULTS / f"{name}.json", arguments.steps, speed=arguments.speed)
        else:
            measure_there(name, arguments)
    results = {name: read_results(name) for name in ENVIRONMENTS}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text("\n".join(page(results, arguments)).rstrip() + "\n")


if __name__ == "__main__":
    main()
