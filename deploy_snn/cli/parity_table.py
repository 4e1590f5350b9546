"""The output of ``deploy-snn parity``: a progress bar, a table, and a description of every mismatch."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from deploy_snn.cli.table import console, table

if TYPE_CHECKING:
    from deploy_snn.parity import ModelReport, RunReport
    from deploy_snn.parity.report import TensorReport

COLUMNS = {"model": "", "runtime": "", "mode": "", "tensors": "", "compared": "r", "differ": "r"}
COLUMNS |= {"max abs": "r", "max rel": "r", "max ulp": "r", "\u00b5s/step": "r", "": ""}


class Progress:
    """A progress bar on stderr."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        screen = Console(stderr=True)
        self._bar = Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, model: str) -> None:
        """Start a new model. The number of its steps is not known yet."""
        self._bar.reset(self._task, description=model, total=None)

    def expect(self, steps: int) -> None:
        """Set the total number of steps."""
        self._bar.update(self._task, total=steps)

    def advance(self, steps: int) -> None:
        """Add completed steps."""
        self._bar.advance(self._task, steps)


def print_reports(reports: "Sequence[ModelReport]") -> None:
    """Print a table of all runs, then each mismatch, then a summary line."""
    out = console()
    first = reports[0]
    title = f"Against {first.reference}, on {first.stimulus}, batch {first.batch}"
    rows = (row for report in reports for row in _model_rows(report))
    out.print(table(title, list(COLUMNS), rows, right=[name for name, side in COLUMNS.items() if side]))
    for report in reports:
        if report.remarks:
            hits = ", ".join(f"{name} {count}" for name, count in report.remarks.items())
            out.print(f"{report.model}: potentials one ulp from the threshold, or exactly on it: {hits}")
        for run in report.runs:
            if run.divergence:
                out.print(Text(f"{report.model} on {run.runtime}, {run.mode}: ", "bold"), describe(run), sep="")
    runs = [run for report in reports for run in report.runs]
    wrong = sum(not run.equal for run in runs)
    steps, spikes = sum(run.steps for run in runs), sum(report.spikes for report in reports)
    verdict = f"{wrong} of {len(runs)} runs differ" if wrong else f"all {len(runs)} runs equal"
    out.print(f"{len(reports)} models, {steps} steps, {spikes} spikes in the references: {verdict}", style="bold")


def describe(run: "RunReport") -> str:
    """Describe the first divergence of a run."""
    d = run.divergence
    assert d is not None
    where = f"step {d.step}, " + (f"row {d.batch_row}, " if d.batch_row is not None else "") + f"neuron {list(d.neuron)}"
    text = f"{d.tensor} first differs at {where}: expected {d.expected}, actual {d.actual}"
    if d.ulp_from_threshold is not None:
        text += f"; the reference compared {d.value!r} with its threshold {d.threshold!r}, {d.ulp_from_threshold} ulp away"
    return f"{text}. {d.verdict[0].upper()}{d.verdict[1:]}."


def _model_rows(report: "ModelReport") -> Iterator[list[object]]:
    name = report.model
    for run in report.runs:
        label = [name, run.runtime, run.mode]
        speed = f"{run.microseconds_a_step:.0f}"
        for tensors, row in _tensor_rows(run):
            result = Text("DIFFERS", "red") if row[1] else Text("equal", "green")
            yield [*label, tensors, *row, speed, result]
            label, speed = ["", "", ""], ""
        name = ""


def _tensor_rows(run: "RunReport") -> Iterator[tuple[str, list[object]]]:
    """Yield a row for each spike tensor, one row for all bit-equal states, and a row for each other state."""
    for exact, group in groupby(run.tensors, key=lambda t: t.dtype != "bool" and not t.max_ulp and not t.differing):
        tensors = list(group)
        if exact:
            yield " ".join(t.tensor for t in tensors), [sum(t.compared for t in tensors), 0, "0", "0", "0"]
        else:
            yield from ((t.tensor, _numbers(t)) for t in tensors)


def _numbers(t: "TensorReport") -> list[object]:
    if t.max_abs is None:
        return [t.compared, t.differing, "", "", ""]
    return [t.compared, t.differing, f"{t.max_abs:.1e}", f"{t.max_rel:.1e}", t.max_ulp]
