"""What a step costs: every neuron class on every runtime, beside BindsNET in the same run, all on one thread."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from bindsnet_peer import bindsnet_version
from contenders import RUNTIMES, STEPS, Model, contenders, export, firing_rates, time_rounds
from tables import Table, micros
from traffic import Traffic, copy_time, count

from deploy_snn.cli.table import console
from deploy_snn.neurons import NEURONS

PEER = "BindsNET"
ORT = "onnxruntime-cpu"
SMALL, LARGE = 100, 10_000
BATCHES = (1, 64)
REDUCED = {"izhikevich": (2_000, "its N x N weights would be 400 MB at N = 10,000")}
"""Classes whose large size is another one, and why."""
LIF_FAMILY = ("if", "lif", "boosted-lif", "current-lif", "adaptive-lif", "diehl-and-cook")
GOAL, LIF_GOAL = 1.0, 7.0
HELP_RUNS = 10


@dataclass(frozen=True)
class Result:
    """One case: microseconds a step, by contender and round."""

    neuron: str
    n: int
    batch: int
    steps: int
    rate: float
    times: dict[str, list[float]]
    traffic: Traffic | None = None
    copy: float | None = None

    @property
    def medians(self) -> dict[str, float]:
        return {name: median(times) for name, times in self.times.items()}

    def ratio(self, name: str) -> float:
        """How many times as fast as BindsNET: the median over rounds, in which both had the same noise."""
        return median(peer / own for peer, own in zip(self.times[PEER], self.times[name], strict=True))

    def cell(self, name: str) -> str:
        times = self.times[name]
        text = f"{micros(median(times))} ({micros(min(times))}..{micros(max(times))})"
        return text if name == PEER else f"{text} {self.ratio(name):.2f}x"


@dataclass(frozen=True)
class Report:
    """One run of this file."""

    machine: dict[str, str | int]
    results: list[Result] = field(default_factory=list)
    help_seconds: list[float] = field(default_factory=list)

    def tables(self) -> Iterator[Table]:
        for large in (False, True):
            for batch in BATCHES:
                rows = [r for r in self.results if (r.n > SMALL) == large and r.batch == batch]
                if rows:
                    yield _times(LARGE if large else SMALL, batch, rows)
        for batch in BATCHES:
            rows = [r for r in self.results if r.traffic is not None and r.batch == batch]
            if rows:
                yield _traffic(batch, rows)

    def remarks(self) -> Iterator[str]:
        """What missed its goal, what was reduced, and how long ``--help`` took."""
        small = [r for r in self.results if r.n == SMALL]
        for r in small:
            goal = LIF_GOAL if r.neuron in LIF_FAMILY else GOAL
            if r.ratio(ORT) < goal:
                case = f"{r.neuron}, N = {r.n}, batch {r.batch}"
                yield f"goal missed: {case}: {ORT} {r.ratio(ORT):.2f} times as fast as BindsNET, and not {goal:g}"
        for name, (n, why) in REDUCED.items():
            if any(r.neuron == name and r.n == n for r in self.results):
                yield f"reduced: {name} at N = {n:,}: {why}"
        for r in self.results:
            if r.steps < STEPS:
                yield f"reduced: {r.neuron}, N = {r.n:,}, batch {r.batch}: chunks of {r.steps} steps and not {STEPS}"
        if self.help_seconds:
            low, high = min(self.help_seconds), max(self.help_seconds)
            middle = median(self.help_seconds)
            yield f"deploy-snn --help: {middle:.3f} s ({low:.3f}..{high:.3f}), {len(self.help_seconds)} runs"


def _label(result: Result) -> str:
    return f"{result.neuron} (N = {result.n:,})" if result.neuron in REDUCED and result.n > SMALL else result.neuron


def _times(n: int, batch: int, results: list[Result]) -> Table:
    columns = ["neuron", "firing", PEER, *RUNTIMES]
    rows = [[_label(r), f"{r.rate:.1%}", *(r.cell(name) for name in columns[2:])] for r in results]
    return Table(
        f"N = {n:,}, batch {batch}: microseconds a step, median (min..max), times as fast as BindsNET", columns, rows
    )


def _traffic(batch: int, results: list[Result]) -> Table:
    columns = ["neuron", "graph", "of it parameters", "least", "graph / least", f"{ORT} us", "copy us", "time / copy"]
    rows = []
    for r in results:
        assert r.traffic is not None
        assert r.copy is not None
        parts = (r.traffic.parameters + r.traffic.tensors, r.traffic.parameters, r.traffic.least)
        each = [f"{part / (r.n * batch):.1f}" for part in parts]
        own = r.medians[ORT]
        rows.append([_label(r), *each, f"{parts[0] / parts[2]:.1f}x", micros(own), micros(r.copy), f"{own / r.copy:.1f}x"])
    title = f"Memory, N = {LARGE:,}, batch {batch}: bytes a neuron and step, and time against numpy moving the least bytes"
    return Table(title, columns, rows)


def measure(model: Model, batch: int, rounds: int, seconds: float) -> Result:
    """Time one case, and count its memory traffic where it is large enough for that to matter."""
    entrants, steps = contenders(model, batch)
    rate = firing_rates(entrants, steps)["eager"]
    times = time_rounds(entrants, steps, rounds, seconds)
    traffic = copy = None
    if model.n > SMALL:
        traffic = count(model.bundle.file("step.onnx"), model.bundle.contract, batch)
        copy = copy_time(traffic.least, rounds)
    return Result(model.neuron, model.n, batch, steps, rate, times, traffic, copy)


def help_seconds(runs: int) -> list[float]:
    """Measure the seconds that ``deploy-snn --help`` takes."""
    command = shutil.which("deploy-snn", path=str(Path(sys.executable).parent)) or "deploy-snn"
    times = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return times[1:]


def machine() -> dict[str, str | int]:
    """The machine and the versions of this measurement."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    packages = {name: version(name) for name in ("torch", "onnx", "numpy")}
    import onnxruntime  # noqa: PLC0415  (its package has more than one name)

    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "bindsnet": bindsnet_version(),
        "onnxruntime": onnxruntime.__version__,
        **packages,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="neurons, separated by commas [default: all eleven]")
    parser.add_argument("--sizes", default=f"{SMALL},{LARGE}", help=f"numbers of neurons [default: {SMALL},{LARGE}]")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, in each of which all take a turn [default: 7]")
    parser.add_argument("--seconds", type=float, default=0.04, help="length of a turn, at least one chunk [default: 0.04]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables for the docs")
    given = parser.parse_args()
    given.only = given.only.split(",") if given.only else list(NEURONS)
    given.sizes = [int(size) for size in given.sizes.split(",")]
    unknown = [name for name in given.only if name not in NEURONS]
    if unknown:
        parser.error(f"there is no neuron '{unknown[0]}'; there is {', '.join(NEURONS)}")
    return given


def main() -> None:
    given = parse()
    begun = time.perf_counter()
    torch.set_num_threads(1)
    report = Report(machine())
    out = console()
    progress = sys.stderr
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for neuron in given.only:
            for size in given.sizes:
                n = REDUCED[neuron][0] if size == LARGE and neuron in REDUCED else size
                with torch.inference_mode(mode=False):
                    model = export(neuron, n, Path(folder))
                for batch in BATCHES:
                    print(f"{time.perf_counter() - begun:5.0f} s  {neuron}, N = {n:,}, batch {batch}", file=progress)
                    report.results.append(measure(model, batch, given.rounds, given.seconds))
                shutil.rmtree(model.bundle.path)
    report.help_seconds.extend(help_seconds(HELP_RUNS))
    tables, remarks = list(report.tables()), list(report.remarks())
    for table in tables:
        table.show(out)
    where = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    remarks += [f"measured with {given.rounds} rounds of {given.seconds:g} s on: {where}"]
    out.print("\n".join(remarks))
    if given.json:
        given.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    if given.markdown:
        given.markdown.write_text(
            "\n".join([*(table.markdown() for table in tables), *(f"- {line}" for line in remarks)]) + "\n"
        )
    print(f"{time.perf_counter() - begun:5.0f} s in all", file=progress)


if __name__ == "__main__":
    main()
