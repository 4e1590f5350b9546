"""``deploy-snn plot``: draw a run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy_snn.cli.options import names
from deploy_snn.cli.table import count
from deploy_snn.errors import InvalidInput


def plot(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A file of `run --output`, a trace of `run --trace`, or a bundle's golden trace."
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The picture to write: .png, .svg or .pdf.")
    ],
    kind: Annotated[
        Literal["raster", "rates", "potentials", "weights"],
        typer.Option(
            "--kind",
            help="raster: each spike; rates: spikes per step; potentials: states and outputs that are numbers, over time; "
            "weights: before and after learning.",
        ),
    ] = "raster",
    row: Annotated[int, typer.Option("--row", min=0, help="The row of the batch.")] = 0,
    tensor: Annotated[
        str | None,
        typer.Option("--tensor", metavar="NAMES", help="Tensors, separated by commas.", show_default="all of the kind"),
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(
            "--before",
            metavar="FILE",
            help="For weights: the state before learning, such as a bundle's initial_state.safetensors. RUN is then a file "
            "of `run --state-out`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw the spikes, the rates or the potentials of a run, or its weights before and after learning."""
    from deploy_snn import plot as draw
    from deploy_snn.tensors import check_writable, read_tensors

    draw.check_suffix(output)
    check_writable(output)
    if (kind == "weights") is not (before is not None):
        raise InvalidInput("--kind weights and --before FILE belong together: give both")
    if before is not None:
        old, new = read_tensors(before), read_tensors(run)
        figure = draw.weights(old, {name: new[name] for name in _known(names(tensor), list(new))})
    else:
        series = draw.choose(draw.read_run(run), names(tensor), spikes=kind != "potentials")
        figure = {"raster": draw.raster, "rates": draw.rates, "potentials": draw.potentials}[kind](series, row)
    draw.save(figure, output)
    typer.echo(f"{output}: {kind}, {count(len(figure.axes), 'panel')}")


def _known(chosen: list[str] | None, known: list[str]) -> list[str]:
    for name in chosen or ():
        if name not in known:
            raise InvalidInput(f"'{name}' is not in the file; choose from {', '.join(known)}")
    return chosen or known
