"""``deploy-snn web``: write a static site that runs a bundle in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from deploy_snn.cli.options import BundlePath


def web(
    bundle: BundlePath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SITE", help="Folder of the site.")],
    rate: Annotated[
        float,
        typer.Option(
            "--rate",
            min=0,
            max=1,
            help="The chance of a spike in a step, of an input at full brightness, as in the training.",
        ),
    ] = 0.5,
) -> None:
    """Write a static site that runs the bundle's WebAssembly in the page: spikes, potentials, and inputs to draw.

    The bundle needs the format wasm. Any web server can serve the folder; a page cannot be opened as a file.
    """
    from deploy_snn.bundle import Bundle
    from deploy_snn.web import write_site

    folder = write_site(Bundle.open(bundle), output, rate)
    typer.echo(f"{folder}: to see it, run python3 -m http.server --directory {folder} and open http://127.0.0.1:8000")
