"""``deploy-snn parity``: check that every runtime computes the same spikes."""

import tempfile
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy_snn import __version__
from deploy_snn.cli.export import export_model
from deploy_snn.cli.options import (
    Batch,
    Definition,
    Dt,
    N,
    RuntimeNames,
    Seed,
    Set,
    Shape,
    SnapWeights,
    model_options,
    names,
    one_thread,
)
from deploy_snn.cli.parity_table import Progress, print_reports
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from deploy_snn.bundle import Bundle
    from deploy_snn.parity import ModelReport
    from deploy_snn.parity.report import Mode

MODE_SETS: "dict[str, tuple[Mode, ...]]" = {
    "locked": ("locked",),
    "free": ("free",),
    "both": ("locked", "free"),
    "sequence": ("sequence",),
    "all": ("locked", "free", "sequence"),
}


def parity(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE|MODEL...",
            help="Bundles, names of neurons, .py files, or files of other frameworks.",
            show_default=False,
        ),
    ],
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
        str, typer.Option("--stimulus", help="poisson, constant, ramp, digits, threshold, golden, or a .safetensors file.")
    ] = "poisson",
    steps: Annotated[int, typer.Option("--steps", help="Steps to compare.")] = 1000,
    batch: Batch = 1,
    atol: Annotated[float, typer.Option("--atol", min=0, help="Absolute tolerance for floats.")] = 1e-5,
    rtol: Annotated[float, typer.Option("--rtol", min=0, help="Relative tolerance for floats.")] = 1e-5,
    seed: Seed = 0,
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    snap: SnapWeights = None,
    definition: Definition = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first mismatch.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the full report to this file.", show_default=False)
    ] = None,
) -> None:
    """Compare every runtime with eager torch, step by step: spikes exactly, floats within the tolerance."""
    from deploy_snn.bundle import Bundle
    from deploy_snn.parity import ParityReport, Plan, Tolerance, compare_runtimes
    from deploy_snn.registry import RUNTIMES
    from deploy_snn.runtimes import find_runtime, unavailable_reason, usable_runtimes
    from deploy_snn.tensors import check_writable

    requested = names(runtime)
    if json_file:
        check_writable(json_file)
    one_thread()
    for name in requested or []:
        find_runtime(name)  # fail early
    model_only = {"--n": n, "--shape": shape, "--dt": dt, "--set": sets, "--snap-weights": snap}
    reports: list[ModelReport] = []
    with ExitStack() as stack, Progress() as progress:
        for model in models:
            progress.begin(model)
            if _is_bundle(model):
                used = [option for option, value in model_only.items() if value is not None]
                if used:
                    raise InvalidInput(f"{model} is a bundle; {', '.join(used)} can only be used with a MODEL")
                bundle = Bundle.open(Path(model))
            else:
                bundle = _exported(model, model_options(model, n, shape, dt, sets), seed, snap, stack)
            plan = Plan(
                runtimes=requested or usable_runtimes(bundle),
                modes=MODE_SETS[mode],
                stimulus=stimulus,
                steps=steps,
                batch=batch,
                seed=seed,
                tolerance=Tolerance(atol=atol, rtol=rtol),
                fail_fast=fail_fast,
                definition=definition,
            )
            progress.expect(plan.runs * steps)
            reports.append(compare_runtimes(bundle, plan, progress.advance))
            if fail_fast and not reports[-1].equal:
                break
    report = ParityReport(equal=all(report.equal for report in reports), versions=_versions(), models=tuple(reports))
    if json_file:
        json_file.write_text(report.model_dump_json(indent=2) + "\n")
    print_reports(reports)
    absent = {name: unavailable_reason(name) for name in RUNTIMES} if requested is None else {}
    for name, reason in absent.items():
        if reason:
            typer.echo(f"not compared: {name}: {reason}")
    raise typer.Exit(0 if report.equal else 1)


def _versions() -> dict[str, str]:
    found = {"deploy-snn": __version__}
    for package in ("torch", "onnx", "numpy", "onnxruntime", "onnxruntime-gpu"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _is_bundle(model: str) -> bool:
    """Whether an argument is the path of a bundle. The name of a neuron always means the neuron."""
    from deploy_snn.model_name import names_a_file
    from deploy_snn.neurons import find_neuron

    if names_a_file(model):
        return False
    if Path(model).name != model or Path(model).is_dir():
        try:
            find_neuron(model)
        except InvalidInput:
            return True
    return False


def _exported(model: str, options: dict[str, Any], seed: int, snap: int | None, stack: ExitStack) -> "Bundle":
    """Export a model to a temporary folder."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-snn-"))
    return export_model(model, options, Path(folder) / Path(model).stem, seed=seed, snap=snap)
