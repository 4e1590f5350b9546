"""The command line: one file per command, each a thin layer over the library.

Commands import torch and the runtimes only when they run, so ``--help`` is fast.
"""

import sys

import typer

from deploy_snn import __version__
from deploy_snn.cli.bench import bench
from deploy_snn.cli.export import export
from deploy_snn.cli.import_file import import_file
from deploy_snn.cli.inspect import inspect
from deploy_snn.cli.list import list_all
from deploy_snn.cli.parity import parity
from deploy_snn.cli.run import run
from deploy_snn.cli.serve import serve
from deploy_snn.cli.triton import triton
from deploy_snn.errors import InvalidInput, Unavailable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take spiking neural networks out of research code and into production runtimes.",
    epilog="Exit status: 0 all equal, 1 a mismatch, 2 wrong usage or invalid input, 3 a requested runtime is missing.",
)

for name, command in (
    ("list", list_all),
    ("export", export),
    ("import", import_file),
    ("parity", parity),
    ("inspect", inspect),
    ("run", run),
    ("bench", bench),
    ("serve", serve),
    ("triton", triton),
):
    app.command(name)(command)


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
