"""Start-up time and peak memory of the commands, each as a multiple of ``python -c "import torch"`` in the same run.

``python benchmarks/startup.py [--rounds 5] [--markdown FILE]``
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from rich.console import Console
from tables import Table

BASELINE = "import torch"
PEAK = "VmHWM"
"""The peak resident memory in /proc/PID/status. Unlike ru_maxrss, it does not include what the parent had before exec."""

MEASURED = """
import atexit, sys
def report(path):
    with open("/proc/self/status") as status, open(path, "w") as peak:
        peak.writelines(line for line in status if line.startswith("VmHWM"))
atexit.register(report, sys.argv[1])
"""
RUN_COMMAND = """
sys.argv[:2] = ["deploy-snn"]
from deploy_snn.cli.main import main
main()
"""


@dataclass
class Case:
    """A command, its goals, and what was measured: seconds, and peak memory in MB, for each round."""

    measure: Callable[[], tuple[float, float]]
    most_times: float | None = None
    """The goal, as a multiple of the baseline's time."""
    most_mb: float | None = None
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def take(self) -> None:
        """Measure once more."""
        seconds, peak = self.measure()
        self.seconds.append(seconds)
        self.peaks.append(peak)


def megabytes(status: str) -> float:
    """The peak memory in the text of a /proc/PID/status."""
    (line,) = [line for line in status.splitlines() if line.startswith(PEAK)]
    return int(line.split()[1]) * 1024 / 1e6


def to_the_end(folder: Path, code: str, *arguments: object) -> tuple[float, float]:
    """Run Python code in a new process: the seconds until it ends, and its peak memory. Raises if it fails."""
    report = folder / "peak"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-c", MEASURED + code, str(report), *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{arguments or code} ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return seconds, megabytes(report.read_text())


def until_ready(bundle: Path) -> tuple[float, float]:
    """Start a server: the seconds until it reports that it is ready, and its peak memory after a first step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from deploy_snn.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(bundle), "--port", str(port), "--log-level", "warning"]
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while _status(port, "GET", "/v2/health/ready") != 200:
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"the server ended with status {process.returncode}: {log.read()}")
                time.sleep(0.002)
            seconds = time.perf_counter() - start
            x = {"name": "x", "datatype": "FP32", "shape": [1, 100], "data": [9] * 100}
            if _status(port, "POST", f"/v2/models/{bundle.name}/infer", json.dumps({"inputs": [x]})) != 200:
                raise RuntimeError("the server refused a step")
            return seconds, megabytes(Path(f"/proc/{process.pid}/status").read_text())
        finally:
            process.terminate()
            process.wait()


def _status(port: int, method: str, path: str, body: str | None = None) -> int | None:
    """The status of a response, or None if no server is listening."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


def cases(folder: Path) -> dict[str, Case]:
    """The baseline and the commands. ``export`` comes before those that use its bundle."""
    bundle = folder / "lif"

    def command(*arguments: object) -> Callable[[], tuple[float, float]]:
        return lambda: to_the_end(folder, RUN_COMMAND, *arguments)

    return {
        BASELINE: Case(lambda: to_the_end(folder, BASELINE)),
        "list": Case(command("list"), 0.5),
        "export lif": Case(command("export", "lif", "--n", 100, "-o", bundle), 3),
        "serve, ready": Case(lambda: until_ready(bundle), 1, 150),
        "parity lif": Case(command("parity", bundle), 10),
    }


def measure(rounds: int) -> dict[str, Case]:
    """All cases in turn, round by round, after one round that is not counted and fills the caches."""
    with tempfile.TemporaryDirectory() as folder:
        found = cases(Path(folder))
        for case in found.values():
            case.measure()
        for _ in range(rounds):
            for case in found.values():
                case.take()
    return found


def goal(value: float, most: float | None) -> str:
    """A value beside its goal."""
    return f"{value:.3g}" if most is None else f"{value:.3g} (goal {most:g})"


def table(found: dict[str, Case]) -> Table:
    """Medians over the rounds. The multiple is the median of the rounds' own multiples."""
    baseline = found[BASELINE].seconds
    rows = []
    for name, case in found.items():
        times = median(own / base for own, base in zip(case.seconds, baseline, strict=True))
        spread = f"{min(case.seconds):.2f} to {max(case.seconds):.2f}"
        shown = [f"{median(case.seconds):.2f}", spread, goal(times, case.most_times)]
        rows.append([name, *shown, goal(max(case.peaks), case.most_mb)])
    columns = ["command", "seconds", "least to most", f"times {BASELINE}", "peak memory, MB"]
    return Table(f"Start-up, {len(baseline)} rounds", columns, rows)


def main() -> None:
    """Measure all commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    found = table(measure(options.rounds))
    found.show(Console(width=120))
    if options.markdown:
        options.markdown.write_text(found.markdown())


if __name__ == "__main__":
    main()
