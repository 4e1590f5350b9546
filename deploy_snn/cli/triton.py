"""``deploy-snn triton``: write bundles as a model repository for Triton Inference Server."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy_snn.errors import Unavailable


def triton(
    paths: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles. The name of a model is the name of its folder.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPOSITORY", help="Folder of the model repository.")],
    backend: Annotated[
        Literal["onnxruntime", "python"],
        typer.Option(
            "--backend", help="Triton backend. States are kept by Triton (onnxruntime) or by a model.py (python)."
        ),
    ] = "onnxruntime",
) -> None:
    """Write a model repository for Triton Inference Server: one model per bundle, checked by Triton's rules.

    Other models in the repository are not changed. serve/triton/README.md describes how to start Triton and how to scale.
    """
    try:
        import tritonclient.grpc  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: tritonclient is installed without its grpc extra
        raise Unavailable(
            "triton needs tritonclient[grpc]: install the extra 'triton' of deploy-snn (in its folder: "
            "pip install '.[triton]')"
        ) from None
    from deploy_snn.bundle import Bundle
    from deploy_snn.triton import write_repository

    for folder in write_repository(output, [Bundle.open(path) for path in paths], backend):
        typer.echo(f"{folder}: {backend} backend, checked")
