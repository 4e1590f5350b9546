"""``deploy-snn export``: write a model as a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy_snn.cli.import_file import print_notes
from deploy_snn.cli.options import Definition, Dt, N, Seed, Set, Shape, SnapWeights, model_options, names
from deploy_snn.cli.progress import Progress
from deploy_snn.cli.table import console, count, size, table
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy_snn.bundle import Bundle
    from deploy_snn.importers import Loaded


ALL_FORMATS = "all but wasm, aoti, executorch, onnx-custom and torchscript-custom"


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The name of a neuron, a .py file that defines build(), a file of another framework, or a bundle.",
        ),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The bundle's folder.", show_default="bundles/NAME")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", help="Formats, separated by commas.", show_default=ALL_FORMATS),
    ] = None,
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    opset: Annotated[int | None, typer.Option("--opset", help="ONNX opset, 18 to 25.", show_default="20")] = None,
    ir_version: Annotated[
        int | None,
        typer.Option("--ir-version", help="ONNX IR version, 8 to 13.", show_default="the exporter's"),
    ] = None,
    libraries: Annotated[
        str | None,
        typer.Option(
            "--library",
            metavar="CPU",
            help="Add the C as a shared library for these CPUs, separated by commas: x86-64-v3, x86-64, aarch64.",
            show_default=False,
        ),
    ] = None,
    check_steps: Annotated[
        int,
        typer.Option("--check-steps", min=0, help="Steps of the golden trace to compile into the C as a self-check."),
    ] = 0,
    flash: Annotated[
        int,
        typer.Option(
            "--flash", min=0, metavar="BYTES", help="Refuse a C model with more parameters.", show_default="no limit"
        ),
    ] = 0,
    ram: Annotated[
        int,
        typer.Option(
            "--ram", min=0, metavar="BYTES", help="Refuse a C model with a larger state.", show_default="no limit"
        ),
    ] = 0,
    max_batch: Annotated[
        int | None,
        typer.Option(
            "--max-batch", min=2, metavar="ROWS", help="The largest batch of a step in ExecuTorch.", show_default="8"
        ),
    ] = None,
    golden_steps: Annotated[
        int | None,
        typer.Option(
            "--golden-steps",
            min=0,
            help="Steps of the golden trace, 0 for none.",
            show_default="as many as fit into its budget, at most 200",
        ),
    ] = None,
    seed: Seed = 0,
    snap: SnapWeights = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="A .safetensors file with LAYER.assignments: the label of each neuron of a layer.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Start a bundle's model from the weights and thresholds that `run --state-out` has saved.",
            show_default=False,
        ),
    ] = None,
    definition: Definition = None,
) -> None:
    """Export a neuron, or a model from a file, as a bundle: model files, manifest, initial state and golden trace.

    A bundle is exported again: with --state from what it has learnt, with --set learning=false as constants.
    """
    if max_batch is not None and not {"executorch", "executorch-xnnpack"} & {*(names(formats) or ())}:
        raise InvalidInput("--max-batch is for ExecuTorch: add --format executorch")
    executorch = {} if max_batch is None else {"max_batch": max_batch}
    format_options: dict[str, dict[str, Any]] = {
        "executorch": executorch,
        "executorch-xnnpack": executorch,
        "onnx": {key: value for key, value in (("opset", opset), ("ir_version", ir_version)) if value is not None},
        "c": {
            key: value
            for key, value in (
                ("libraries", tuple(names(libraries) or ())),
                ("check_steps", check_steps),
                ("flash", flash),
                ("ram", ram),
            )
            if value
        },
    }
    with Progress() as progress:
        bundle = export_model(
            model,
            model_options(model, n, shape, dt, sets, is_bundle=_is_bundle(model)),
            output,
            formats=names(formats),
            format_options=format_options,
            golden_steps=golden_steps,
            seed=seed,
            snap=snap,
            labels=labels,
            state=state,
            definition=definition,
            on_stage=lambda stage: progress.stage(f"export {model}: {stage}"),
        )
    out = console()
    files = ((name, size(file.bytes), file.sha256[:12]) for name, file in bundle.manifest.files.items())
    out.print(table(str(output or bundle.path), ["file", "size", "SHA-256"], files, right=["size"]))
    for snapped in bundle.manifest.snapped:
        out.print(
            f"{snapped.connection}: {snapped.changed} of {count(snapped.weights, 'weight')} changed, "
            f"by at most {snapped.largest_change:.3g}"
        )
    for name, section in bundle.manifest.formats.items():
        if "refused" in section:
            out.print(f"without the format {name}: {section['refused']}")
    print_notes(bundle.manifest.source, out)
    print_golden(bundle, out, requested=golden_steps)
    out.print("\n".join(f"{spec.role:>6}  {spec}" for spec in bundle.contract.tensors))


def _is_bundle(model: str) -> bool:
    from deploy_snn.bundle.manifest import MANIFEST

    return (Path(model) / MANIFEST).is_file()


def _learnt(path: Path, options: dict[str, Any], state: Path | None, definition: Path | None) -> "Loaded":
    from deploy_snn.bundle import Bundle
    from deploy_snn.learnt import learnt_model
    from deploy_snn.tensors import read_tensors

    learning = options.get("learning")
    if options.keys() - {"learning"} or not isinstance(learning, bool | None):
        raise InvalidInput("a bundle takes --set learning=true or --set learning=false, and no other option")
    tensors = None if state is None else read_tensors(state)
    return learnt_model(Bundle.open(path), tensors, learning=learning, definition=definition)


def print_golden(bundle: "Bundle", out: Any, *, requested: int | None) -> None:
    """Print the length of the golden trace if it is not the default."""
    from deploy_snn.parity import GOLDEN_STEPS

    golden = bundle.manifest.golden
    if golden is None:
        out.print("no golden trace: hosts without torch cannot check their results")
    elif requested is None and golden.steps < GOLDEN_STEPS:
        out.print(
            f"golden trace: its size budget allows {count(golden.steps, 'step')}; it depends on the size of the weights; "
            "change the number of steps with --golden-steps N"
        )


def export_model(
    model: str,
    options: dict[str, Any],
    output: Path | None,
    *,
    formats: list[str] | None = None,
    format_options: dict[str, dict[str, Any]] | None = None,
    golden_steps: int | None = None,
    seed: int = 0,
    snap: int | None = None,
    labels: Path | None = None,
    state: Path | None = None,
    definition: Path | None = None,
    on_stage: "Callable[[str], None] | None" = None,
) -> "Bundle":
    """Load a model by name, from a file or from a bundle, and export it.

    ``format_options`` are the options of formats, by the format's name; those of a format that is not written are ignored.
    """
    import torch

    from deploy_snn.api import export_loaded
    from deploy_snn.formats import PORTABLE, Format, find_formats
    from deploy_snn.formats.writer import unreported
    from deploy_snn.importers import load_model
    from deploy_snn.registry import FORMATS

    chosen: list[str | Format] = list(formats or PORTABLE)
    for name, given in (format_options or {}).items():
        if given and name in chosen:
            chosen[chosen.index(name)] = FORMATS[name](**given)
    find_formats(chosen)  # fail early
    torch.manual_seed(seed)
    if _is_bundle(model):
        if output is None:
            raise InvalidInput("a bundle is exported to another folder: pass --output DIR")
        loaded = _learnt(Path(model), options, state, definition)
    elif state is not None or definition is not None:
        raise InvalidInput("--state and --definition are for a bundle: export the model first")
    else:
        loaded = load_model(model, options)
    return export_loaded(
        loaded,
        output or Path("bundles") / loaded.name,
        formats=chosen,
        skip_refused=formats is None,
        golden_steps=golden_steps,
        snap_bits=snap,
        labels=labels,
        seed=seed,
        on_stage=on_stage or unreported,
    )
