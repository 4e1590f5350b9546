"""The option ``--json``: a command's result for programs, in a file or on standard output."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON to this file; - for stdout.", show_default=False),
]


def write_json(path: Path, value: Any) -> None:
    """Write a value to a file, or to standard output if the path is ``-``."""
    text = json.dumps(value, indent=2, allow_nan=False)
    if str(path) == "-":
        typer.echo(text)
        return
    from deploy_snn.tensors import check_writable

    check_writable(path)
    path.write_text(text + "\n")
