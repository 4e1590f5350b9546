"""``deploy-snn import``: write a network of another framework as a Python file that people can read and change."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_snn.cli.options import Dt, Set, model_options
from deploy_snn.cli.table import console, table
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from deploy_snn.bundle import Source


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of BindsNET's Network.save, or a NIR graph.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="NAME", help="Writes NAME.py and NAME.safetensors.", show_default="FILE's name"
        ),
    ] = None,
    dt: Dt = None,
    sets: Set = None,
) -> None:
    """Import a network of another framework, and write it as a Python file with build() and a file of its tensors."""
    from deploy_snn.eager import to_numpy
    from deploy_snn.importers import define, load_model
    from deploy_snn.importers.load import find_importer
    from deploy_snn.network import Network
    from deploy_snn.tensors import TENSORS, check_writable, write_tensors

    find_importer(file)
    loaded = load_model(file, model_options(str(file), None, None, dt, sets))
    network, source = loaded.program, loaded.source
    assert isinstance(network, Network)
    definition = Path(str(output or loaded.name).removesuffix(".py") + ".py")
    for path in (definition, definition.with_suffix(TENSORS)):
        check_writable(path)
        if path.exists():
            raise InvalidInput(f"{path} exists, and may have been changed by hand: give another name with -o")
    written = define(network, "\n".join([f"{file.name}, as deploy-snn import wrote it.", "", *_notes(source)]).rstrip())
    if written.tensors:
        write_tensors(definition.with_suffix(TENSORS), to_numpy(dict(written.tensors)))
    definition.write_text(written.text)
    out = console()
    layers = ((layer.name, type(layer.neuron).__name__, list(layer.shape)) for layer in network.layers.values())
    out.print(table(f"{definition}", ["layer", "class", "shape"], layers))
    connections = ((connection.source, connection.target, type(connection).__name__) for connection in network.connections)
    out.print(table("", ["from", "to", "connection"], connections))
    print_notes(source, out)


def _notes(source: "Source") -> list[str]:
    left = ["Left behind:", *(f"- {sentence}" for sentence in source.left_behind)] if source.left_behind else []
    return left + (["Notes:", *(f"- {sentence}" for sentence in source.notes)] if source.notes else [])


def print_notes(source: "Source", out: "Console") -> None:
    """Print what an importer left behind, and its notes."""
    if source.left_behind or source.notes:
        out.print("\n".join(_notes(source)))
