"""The output of ``deploy-snn parity``: one line for each model and runtime, and what differs or is uncovered."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from deploy_snn.cli.table import console, count, table

if TYPE_CHECKING:
    from deploy_snn.parity import ModelReport, RunReport
    from deploy_snn.parity.report import TensorReport
    from deploy_snn.parity.self_test import SelfTest

SHORT = {"model": "", "runtime": "", "runs": "r", "differ": "r", "max ulp": "r", "\u00b5s/step": "r", "": ""}
FILES = "bundle files"
"""The row of the initial state and the golden trace."""
LONG = {"run": "", "tensors": "", "compared": "r", "differ": "r", "max abs": "r", "max rel": "r", "max ulp": "r"}
REMARKS = {
    "threshold": "potentials one ulp from the threshold, or exactly on it",
    "denormal": "elements of states that were set to a number below the smallest normal one",
    "signed-zero": "elements of drives and states that were set to -0.0",
}
"""What the numbers of a stimulus count."""
FEW = 3
"""The number of uncovered items of a model that are shown without -v."""


def print_reports(reports: "Sequence[ModelReport]", *, verbose: bool = False, strict: bool = False) -> None:
    """Print a line for each model and runtime, then each mismatch, what was not compared or covered, and a summary."""
    out = console()
    compared = [report for report in reports if report.runs]
    if compared:
        first = compared[0]
        stimuli = ", ".join(dict.fromkeys(stimulus.stimulus for stimulus in first.stimuli))
        batches = ", ".join(dict.fromkeys(str(stimulus.batch) for stimulus in first.stimuli))
        title = f"Against {first.reference}, on {stimuli}, batch {batches}"
        rows = (row for report in compared for row in _rows(report))
        out.print(table(title, list(SHORT), rows, right=[name for name, side in SHORT.items() if side]))
    for report in compared:
        _print_model(report, out, verbose=verbose)
    _print_skipped(reports, out)
    for report in reports:
        if report.error is not None:
            typer.echo(f"deploy-snn: {report.error}", err=True)
    if compared:
        out.print(summary(reports, strict=strict), style="bold")


def _print_model(report: "ModelReport", out: Console, *, verbose: bool) -> None:
    if verbose:
        _print_tensors(report, out)
    described: dict[str, int] = {}
    for run in report.runs:
        if not run.equal:
            described[run.runtime] = described.get(run.runtime, 0) + 1
            if described[run.runtime] == 1 or verbose:
                out.print(Text(f"{report.model} on {run.runtime}, {run.mode}: ", "bold"), describe(run), sep="")
    for runtime, differing in described.items():
        if differing > 1 and not verbose:
            out.print(f"{report.model} on {runtime}: {differing - 1} more of its runs differ (-v describes each)")
    for run in report.runs:
        for note in run.notes:
            out.print(f"{report.model} on {run.runtime}, {run.mode}: {note}")
    _print_coverage(report, out, verbose=verbose)


def summary(reports: "Sequence[ModelReport]", *, strict: bool = False) -> str:
    """One line with the verdict."""
    runs = [run for report in reports for run in report.runs]
    wrong = sum(not run.equal for run in runs)
    failed = sum(report.error is not None for report in reports)
    steps, spikes = sum(run.steps for run in runs), sum(report.spikes for report in reports)
    without = [report.model for report in reports if report.error is None and not report.compared]
    equal = f"all {len(runs)} runs equal" if len(runs) != 1 else "the one run equal"
    verdict = f"{wrong} of {count(len(runs), 'run')} differ" if wrong else equal
    if without:
        verdict = f"no runtime was compared for {', '.join(without)}"
    if failed:
        verdict += f", {count(failed, 'model')} could not be compared"
    uncovered = sum(bool(report.uncovered or report.silent) for report in reports)
    if uncovered:
        verdict += f", {count(uncovered, 'model')} not fully covered" + (" (--strict)" if strict else "")
    return f"{count(len(reports), 'model')}, {count(steps, 'step')}, {count(spikes, 'spike')} in the references: {verdict}"


def describe(run: "RunReport") -> str:
    """Describe the first divergence of a run, or its error."""
    if run.error is not None:
        return f"failed: {run.error}"
    d = run.divergence
    assert d is not None
    where = f"step {d.step}, " + (f"row {d.batch_row}, " if d.batch_row is not None else "") + f"neuron {list(d.neuron)}"
    text = f"{d.tensor} first differs at {where}: expected {d.expected}, actual {d.actual}"
    if d.difference is not None and d.ulp is not None:
        accepted = "equal bits are required" if d.tolerance is None else f"at most {d.tolerance:.2g} is accepted"
        text += f", a difference of {d.difference:.3g} or {d.ulp} ulp; {accepted}"
    if d.ulp_from_threshold is not None:
        text += f"; the reference compared {d.value!r} with its threshold {d.threshold!r}, {d.ulp_from_threshold} ulp away"
    text += f". {d.verdict[0].upper()}{d.verdict[1:]}."
    for what, values in (("Inputs", d.inputs), ("State before", d.state_before)):
        if values:
            text += f" {what}: " + ", ".join(f"{name} = {value!r}" for name, value in values.items()) + "."
    return text + (f" First wrong node: {d.node}." if d.node else "")


def _rows(report: "ModelReport") -> Iterator[list[object]]:
    """A row for each runtime, and one for the bundle's own files."""
    name = report.model
    grouped: dict[str, list[RunReport]] = {}
    for run in report.runs:
        grouped.setdefault(FILES if run.runtime in report.files else run.runtime, []).append(run)
    for runtime, runs in grouped.items():
        tensors = [tensor for run in runs for tensor in run.tensors]
        timed = [run.microseconds_a_step for run in runs if run.mode in ("locked", "free")]
        wrong = any(not run.equal for run in runs)
        failed = all(run.error is not None for run in runs)
        yield [
            name,
            runtime,
            len(runs),
            sum(tensor.differing for tensor in tensors),
            max((tensor.max_ulp or 0 for tensor in tensors), default=0),
            f"{min(timed):.0f}" if timed and min(timed) > 0 else "",
            Text("FAILED" if failed else "DIFFERS", "red") if wrong else Text("equal", "green"),
        ]
        name = ""


def _print_tensors(report: "ModelReport", out: Console) -> None:
    rows: list[list[object]] = []
    for run in report.runs:
        label = f"{run.runtime} {run.mode}" + (f" {run.stimulus} {run.batch} {run.seed}" if run.stimulus else "")
        for tensors, numbers in _tensor_rows(run):
            rows.append([label, tensors, *numbers])
            label = ""
    right = [name for name, side in LONG.items() if side]
    out.print(table(f"{report.model}: runtime, mode, stimulus, batch, seed", list(LONG), rows, right=right))


def _print_coverage(report: "ModelReport", out: Console, *, verbose: bool) -> None:
    for stimulus in report.stimuli:
        if stimulus.remarks:
            hits = ", ".join(f"{name} {count}" for name, count in stimulus.remarks.items())
            what = REMARKS.get(stimulus.stimulus, stimulus.stimulus)
            out.print(f"{report.model}: {what}: {hits}")
    for name in report.silent:
        out.print(f"{report.model}: {name} never fired, so its equality proves nothing", style="yellow")
    uncovered = report.uncovered
    shown = report.coverage if verbose else uncovered[:FEW]
    if report.coverage:
        done = len(report.coverage) - len(uncovered)
        out.print(f"{report.model}: coverage {done} of {len(report.coverage)}" + (":" if shown else ""))
    for item in shown:
        out.print(f"  {'' if item.covered else 'not covered: '}{item}", style="" if item.covered else "yellow")
    if len(uncovered) > FEW and not verbose:
        out.print(f"  and {len(uncovered) - FEW} more that are not covered (-v lists them)")


def _print_skipped(reports: "Sequence[ModelReport]", out: Console) -> None:
    """Each reason once, with what was not compared and the models that it concerns."""
    models: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for skip in report.skipped:
            models.setdefault((skip.what, skip.reason), []).append(report.model)
    found: dict[tuple[str, str], list[str]] = {}
    for (what, reason), concerned in models.items():
        whose = "" if len(concerned) == len(reports) else f" ({', '.join(concerned)})"
        found.setdefault((whose, reason), []).append(what)
    for (whose, reason), whats in found.items():
        out.print(f"not compared: {', '.join(whats)}{whose}: {reason}")


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
    return [t.compared, t.differing, f"{t.max_abs:.1e}", f"{t.max_rel or 0:.1e}", t.max_ulp]


def print_self_tests(tests: "Sequence[SelfTest]", *, verbose: bool) -> None:
    """Print for each model how many planted faults were detected, by kind, and those that were not."""
    out = console()
    rows: list[list[object]] = []
    for test in tests:
        name = test.model
        for file in dict.fromkeys(result.file for result in test.results):
            results = [result for result in test.results if result.file == file]
            killed = sum(result.killed_by is not None for result in results)
            rows.append([name, file, len(results), killed, f"{100 * killed / len(results):.1f} %"])
            name = ""
    out.print(
        table("Planted faults", ["model", "file", "planted", "detected", ""], rows, right=["planted", "detected", ""])
    )
    for test in tests:
        for result in test.survivors:
            out.print(f"{test.model}, {result.file}: not detected: {result.kind}: {result.what}", style="yellow")
        if verbose:
            for result in test.results:
                if result.killed_by is not None:
                    out.print(f"{test.model}, {result.file}: {result.what}: {result.killed_by}, {result.mode}")
    planted, detected = sum(len(test.results) for test in tests), sum(test.killed for test in tests)
    out.print(f"{detected} of {planted} planted faults detected: {100 * detected / planted:.1f} %", style="bold")
