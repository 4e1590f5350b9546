"""``deploy-snn parity``: check that every runtime computes the same spikes."""

import json
from contextlib import ExitStack, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy_snn import __version__
from deploy_snn.cli.model import opening
from deploy_snn.cli.options import (
    Definition,
    Dt,
    N,
    RuntimeNames,
    Set,
    Shape,
    SnapWeights,
    model_options,
    names,
    numbers,
    one_thread,
)
from deploy_snn.cli.parity_table import print_reports, print_self_tests
from deploy_snn.cli.progress import Progress
from deploy_snn.errors import InvalidInput, Unavailable, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy_snn.bundle import Bundle
    from deploy_snn.parity import ModelReport, ParityReport, Plan
    from deploy_snn.parity.pair import Side
    from deploy_snn.parity.report import Mode
    from deploy_snn.parity.self_test import SelfTest

MODE_SETS: "dict[str, tuple[Mode, ...]]" = {
    "locked": ("locked",),
    "free": ("free",),
    "both": ("locked", "free"),
    "sequence": ("sequence",),
    "all": ("locked", "free", "sequence"),
}


def _report_file(name: str, about: str) -> Any:
    return typer.Option(name, metavar="FILE", help=about, show_default=False)


def parity(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE|MODEL...]",
            help="Bundles, names of neurons, .py files, or files of other frameworks.",
            show_default=False,
        ),
    ] = None,
    *,
    runtime: RuntimeNames = None,
    mode: Annotated[
        Literal["locked", "free", "both", "sequence", "all"],
        typer.Option(
            "--mode",
            help="locked: start each step from the reference's state; free: keep the runtime's own state; "
            "sequence: many steps per call.",
        ),
    ] = "all",
    stimulus: Annotated[
        str | None,
        typer.Option(
            "--stimulus",
            help="poisson, constant, ramp, digits, threshold, denormal, signed-zero, golden, a .safetensors file; "
            "several with commas.",
            show_default="poisson,threshold",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Steps to compare, for each stimulus.")] = 200,
    batch: Annotated[str, typer.Option("--batch", help="Number of rows; several with commas.")] = "3",
    seed: Annotated[str, typer.Option("--seed", help="Seed of random weights and stimuli; several with commas.")] = "0",
    atol: Annotated[
        float, typer.Option("--atol", min=0, help="Absolute tolerance, where the contract names a rounding.")
    ] = 0.0,
    rtol: Annotated[
        float,
        typer.Option("--rtol", min=0, help="Tolerance in proportion to the tensor's largest value, likewise."),
    ] = 1e-5,
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    snap: SnapWeights = None,
    definition: Definition = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first mismatch.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if the stimuli leave a part of the model unexercised.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show each tensor, and all of the coverage.")] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="THING",
            help="Compare two things: a bundle, BUNDLE:RUNTIME, a neuron, a .py file, or a file with one step "
            "(.onnx, TorchScript).",
            show_default=False,
        ),
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option("--candidate", metavar="THING", help="The thing to compare with --reference.", show_default=False),
    ] = None,
    contract: Annotated[
        Path | None,
        typer.Option(
            "--contract",
            metavar="FILE",
            help="The contract of a file with one step that holds none: JSON, a manifest, or a bundle.",
            show_default=False,
        ),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant faults in the model's ONNX files; count those that are detected.")
    ] = False,
    dump: Annotated[
        Path | None,
        typer.Option(
            "--dump",
            metavar="DIR",
            help="Write the first wrong step of each ONNX runtime with a script.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[Path | None, _report_file("--json", "Write the full report to this file.")] = None,
    junit_file: Annotated[Path | None, _report_file("--junit", "Write a JUnit report for CI systems.")] = None,
    html_file: Annotated[Path | None, _report_file("--html", "Write the report as one self-contained page.")] = None,
) -> None:
    """Compare every runtime with eager torch, step by step.

    Spikes are compared exactly. Floats must be bit-equal, or within the tolerance where the contract names a rounding.
    """
    from deploy_snn.parity import ParityReport, Plan, Tolerance
    from deploy_snn.parity.pair import compare_pair
    from deploy_snn.parity.self_test import self_test as run_self_test
    from deploy_snn.runtimes import find_runtime
    from deploy_snn.tensors import check_writable

    requested, batches, seeds = names(runtime), numbers("batch", batch), numbers("seed", seed)
    for file in filter(None, (json_file, junit_file, html_file)):
        check_writable(file)
    one_thread()
    for name in requested or []:
        find_runtime(name)  # fail early
    plan = Plan(
        runtimes=requested,
        modes=MODE_SETS[mode],
        stimulus=names(stimulus),
        steps=steps,
        batch=batches,
        seed=seeds,
        tolerance=Tolerance(atol=atol, rtol=rtol),
        fail_fast=fail_fast,
        definition=definition,
        explain=verbose,
        dump=dump,
    )
    _check_arguments(models, reference, candidate)
    reports: list[ModelReport] = []
    tests: list[SelfTest] = []
    with ExitStack() as stack, Progress(len(models or ()), intervals=False) as progress:
        if reference is not None and candidate is not None:
            sides = partial(
                _sides, reference, candidate, contract, definition, partial(model_options, "", n, shape, dt, sets)
            )
            reports.append(_result(candidate, lambda: compare_pair(*sides(), plan, progress.advance)))
        opened = partial(opening, stack=stack, n=n, shape=shape, dt=dt, sets=sets, snap=snap, seed=seeds[0])
        for model in models or ():
            progress.begin(model)
            if self_test:
                tests.append(run_self_test(opened(model)(), plan, progress.advance))
                continue
            reports.append(_compare(model, opened(model), plan, progress))
            if fail_fast and not reports[-1].equal:
                break
    if self_test:
        if json_file:
            json_file.write_text(json.dumps([test.model_dump() for test in tests], indent=2) + "\n")
        print_self_tests(tests, verbose=verbose)
        raise typer.Exit(1 if strict and any(test.survivors for test in tests) else 0)
    report = ParityReport(equal=all(report.equal for report in reports), versions=versions(), models=tuple(reports))
    _write(report, json_file, junit_file, html_file, strict=strict)
    print_reports(reports, verbose=verbose, strict=strict)
    raise typer.Exit(_exit_status(reports, strict=strict))


def _check_arguments(models: list[str] | None, reference: str | None, candidate: str | None) -> None:
    if (reference is None) is not (candidate is None) or bool(models) is (reference is not None):
        raise InvalidInput("expected models to compare, or both --reference and --candidate")


def _write(
    report: "ParityReport", json_file: Path | None, junit_file: Path | None, html_file: Path | None, *, strict: bool
) -> None:
    from deploy_snn.parity.html import html_page
    from deploy_snn.parity.junit import junit_xml

    if json_file:
        json_file.write_text(report.model_dump_json(indent=2) + "\n")
    if junit_file:
        junit_file.write_text(junit_xml(report, strict=strict))
    if html_file:
        html_file.write_text(html_page(report))


def _exit_status(reports: "list[ModelReport]", *, strict: bool) -> int:
    """1 for any mismatch; otherwise the status of what could not be compared."""
    statuses = {report.exit_status for report in reports}
    if strict and any(report.uncovered or report.silent for report in reports):
        statuses.add(1)
    return 1 if 1 in statuses else max(statuses)


def _compare(model: str, opened: "Callable[[], Bundle]", plan: "Plan", progress: Progress) -> "ModelReport":
    from deploy_snn.parity import compare_runtimes

    def compare() -> "ModelReport":
        bundle = opened()
        progress.expect(plan.steps * len(plan.modes) * len(plan.cases()))
        return compare_runtimes(bundle, plan, progress.advance)

    return _result(model, compare)


def _sides(
    reference: str, candidate: str, contract: Path | None, definition: Path | None, options: "Callable[[], dict[str, Any]]"
) -> "tuple[Side, Side]":
    from deploy_snn.model_name import names_a_file
    from deploy_snn.parity.pair import open_side, read_contract

    given = read_contract(contract) if contract else None
    sides = []
    for text in (reference, candidate):
        keywords = options()
        if names_a_file(text) and set(keywords) == {"n"}:
            keywords = {}  # the default number of neurons is for neuron classes only
        sides.append(open_side(text, given, keywords, definition))
    return sides[0], sides[1]


def _result(model: str, compare: "Callable[[], ModelReport]") -> "ModelReport":
    """Compare one model. An error of the model is its result, so that the other models are still compared."""
    from deploy_snn.parity import ModelReport

    try:
        return compare()
    except (InvalidInput, Unavailable) as error:
        return ModelReport(model=model, reference="", error=str(error), error_status=error.exit_status)
    except Exception as error:  # noqa: BLE001  (a model's own code may raise anything)
        text = f"{type(error).__name__}: {first_line(error)}"
        return ModelReport(model=model, reference="", error=text, error_status=1)


def versions() -> dict[str, str]:
    """The versions of this toolkit and of the libraries that compute."""
    found = {"deploy-snn": __version__}
    for package in ("torch", "onnx", "numpy", "onnxruntime", "onnxruntime-gpu"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
