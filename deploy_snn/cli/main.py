"""The command line: one file per command, each a thin layer over the library.

Commands import torch and the runtimes only when they run, so ``--help`` is fast.
"""

import sys

import typer

from deploy_snn import __version__
from deploy_snn.cli.bench import bench
from deploy_snn.cli.command import Command, Group
from deploy_snn.cli.describe import describe
from deploy_snn.cli.export import export
from deploy_snn.cli.import_file import import_file
from deploy_snn.cli.inspect import inspect
from deploy_snn.cli.list import list_all
from deploy_snn.cli.parity import parity
from deploy_snn.cli.plot import plot
from deploy_snn.cli.run import run
from deploy_snn.cli.serve import serve
from deploy_snn.cli.triton import triton
from deploy_snn.cli.web import web
from deploy_snn.errors import InvalidInput, Unavailable

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Take spiking neural networks out of research code and into production runtimes.",
    epilog="Exit status: 0 all equal, 1 a mismatch, 2 wrong usage or invalid input, 3 a requested runtime is missing.",
)

FIND, MAKE, CHECK, RUN = "Find your way", "Make bundles", "Check", "Run"

for panel, name, command, example in (
    (FIND, "list", list_all, ""),
    (FIND, "describe", describe, "lif"),
    (FIND, "inspect", inspect, "bundles/robot"),
    (MAKE, "export", export, "lif --n 100 --set thresh=-50 -o bundles/robot"),
    (MAKE, "import", import_file, "net.pt -o mine"),
    (MAKE, "web", web, "bundles/robot -o site"),
    (MAKE, "triton", triton, "bundles/robot -o repository"),
    (CHECK, "parity", parity, "lif --steps 100"),
    (CHECK, "bench", bench, "bundles/robot --batch 8"),
    (RUN, "run", run, "bundles/robot --input in.safetensors --output out.safetensors"),
    (RUN, "serve", serve, "bundles/robot --port 8000"),
    (RUN, "plot", plot, "out.safetensors -o raster.png"),
):
    epilog = f"Example: deploy-snn {name} {example}".rstrip()
    app.command(name, cls=Command, epilog=epilog, rich_help_panel=panel)(command)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"deploy-snn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run the command line. A user error prints one line to stderr and sets the exit status."""
    try:
        app()
    except (InvalidInput, Unavailable) as error:
        typer.echo(f"deploy-snn: {error}", err=True)
        sys.exit(error.exit_status)
