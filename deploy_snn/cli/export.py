"""``deploy-snn export``: write a model as a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy_snn.cli.import_file import print_told
from deploy_snn.cli.options import Dt, N, Seed, Set, Shape, SnapWeights, model_options, names
from deploy_snn.cli.table import console, size, table
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from deploy_snn.formats import Bundle, WriteOptions

GOLDEN_STEPS = 200
GOLDEN_BATCH = 2
"""Two rows, so that a host that mixes the rows of a batch up cannot pass its check."""


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A neuron's name, a .py file that defines build(), or a file of another framework's."
        ),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The bundle's folder [default: export/NAME].")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", help="Formats, separated by commas [default: all but aoti].", show_default=False),
    ] = None,
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    opset: Annotated[int | None, typer.Option("--opset", help="ONNX opset [default: 20].", show_default=False)] = None,
    ir_version: Annotated[
        int | None, typer.Option("--ir-version", help="ONNX IR version [default: the exporter's].", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Steps of the golden trace.")] = GOLDEN_STEPS,
    seed: Seed = 0,
    snap: SnapWeights = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="A .safetensors file with LAYER.assignments: the label that each neuron stands for.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export a neuron, or a model from a file, as a bundle: every format, manifest, initial state and golden trace."""
    from deploy_snn.formats import WriteOptions

    options = WriteOptions(
        **{key: value for key, value in (("opset", opset), ("ir_version", ir_version)) if value is not None}
    )
    bundle = export_model(
        model,
        model_options(model, n, shape, dt, sets),
        output,
        formats=names(formats),
        write=options,
        steps=steps,
        seed=seed,
        snap=snap,
        labels=labels,
    )
    out = console()
    files = ((name, size(file.bytes), file.sha256[:12]) for name, file in bundle.manifest.files.items())
    out.print(table(str(output or bundle.path), ["file", "size", "SHA-256"], files, right=["size"]))
    for done in bundle.manifest.snapped:
        out.print(
            f"{done.connection}: {done.changed} of {done.weights} weights moved, by {done.largest_change:.3g} at most"
        )
    print_told(bundle.manifest.source, out)
    out.print("\n".join(f"{spec.role:>6}  {spec}" for spec in bundle.contract.tensors))


def export_model(
    model: str,
    options: dict[str, Any],
    output: Path | None,
    *,
    formats: list[str] | None = None,
    write: "WriteOptions | None" = None,
    steps: int = GOLDEN_STEPS,
    seed: int = 0,
    snap: int | None = None,
    labels: Path | None = None,
) -> "Bundle":
    """Build a model, record its golden trace, and write its bundle."""
    import torch

    from deploy_snn.formats import FORMATS, PORTABLE, GoldenRecord, write_bundle
    from deploy_snn.network import Network, Snapped, snap_weights
    from deploy_snn.parity import Request, make_stimulus, reference_run
    from deploy_snn.readout import Readout
    from deploy_snn.source import load_model

    unknown = [name for name in formats or [] if name not in FORMATS]
    if unknown:
        raise InvalidInput(f"there is no format '{unknown[0]}'; there is {', '.join(FORMATS)}")
    torch.manual_seed(seed)
    name, program, source = load_model(model, options)
    snapped: tuple[Snapped, ...] = ()
    if snap is not None:
        if not isinstance(program, Network):
            raise InvalidInput(f"--snap-weights: {model} is no network, and has no connections")
        snapped = snap_weights(program.connections, snap)
    readout = Readout.read(labels, program.contract.outputs) if labels else None
    stimulus = make_stimulus("poisson", Request(program, steps, GOLDEN_BATCH, seed))
    golden = GoldenRecord(stimulus=stimulus.name, steps=steps, batch=GOLDEN_BATCH, seed=seed)
    return write_bundle(
        output or Path("export") / name,
        program,
        source,
        (reference_run(program, stimulus), golden),
        formats=formats or PORTABLE,
        options=write,
        snapped=snapped,
        readout=readout,
    )
