"""``deploy-snn triton``: write bundles as a model repository for Triton Inference Server."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy_snn.errors import Unavailable


def triton(
    paths: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles; a model's name is its folder's.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPOSITORY", help="Where to put them.")],
    backend: Annotated[
        Literal["onnxruntime", "python"],
        typer.Option("--backend", help="Who keeps the states: Triton (onnxruntime), or a model.py (python)."),
    ] = "onnxruntime",
) -> None:
    """Write a model repository for Triton Inference Server: a model for each bundle, checked as Triton will read it.

    Other models in the repository are left alone. serve/triton says how to start Triton and how to scale out.
    """
    try:
        import tritonclient.grpc  # noqa: F401
    except (ImportError, RuntimeError):  # the latter where it was installed without its gRPC part
        raise Unavailable("triton needs tritonclient[grpc]: pip install 'deploy-snn[triton]'") from None
    from deploy_snn.bundle import Bundle
    from deploy_snn.triton import write_repository

    for folder in write_repository(output, [Bundle.open(path) for path in paths], backend):
        typer.echo(f"{folder}: {backend} backend, checked")
