"""``deploy-snn serve``: put bundles behind the Open Inference Protocol."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy_snn.errors import Unavailable

TOKEN_VARIABLE = "DEPLOY_SNN_TOKEN"  # noqa: S105


def serve(
    paths: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles; a model's name is its folder's.")],
    *,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    runtime: Annotated[str, typer.Option("--runtime", help="What steps the bundles.")] = "onnxruntime-cpu",
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Rows that are stepped together.")] = 64,
    max_wait_ms: Annotated[float, typer.Option("--max-wait-ms", min=0, help="How long a batch waits for more.")] = 0.0,
    max_streams: Annotated[int, typer.Option("--max-streams", min=1, help="Streams a model keeps.")] = 10_000,
    max_state_mb: Annotated[int, typer.Option("--max-state-mb", min=1, help="Memory for a model's states.")] = 1024,
    max_queue: Annotated[int, typer.Option("--max-queue", min=1, help="Requests that may wait.")] = 4096,
    idle_timeout: Annotated[float, typer.Option("--idle-timeout", min=0.1, help="Seconds a stream may rest.")] = 600,
    client_timeout: Annotated[
        float,
        typer.Option("--client-timeout", min=0.1, help="Seconds to wait for a request's rest, or its reader."),
    ] = 60,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="DIR", help="Keep streams here, beyond the server's life.")
    ] = None,
    log: Annotated[Literal["text", "json"], typer.Option("--log", help="A line an event, on stderr.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning"], typer.Option("--log-level", help="debug tells of every stream.")
    ] = "info",
) -> None:
    """Serve bundles to many clients at once, each with a stream of its own.

    Where the environment has a DEPLOY_SNN_TOKEN, every request must carry it as its bearer token.
    """
    try:
        from deploy_snn.server import Bounds, Limits, Settings, configure_log, listen
    except ImportError as error:
        raise Unavailable(f"serve needs {error.name}: pip install 'deploy-snn[serve]'") from None
    from deploy_snn.bundle import Bundle

    limits = Limits(max_batch, max_wait_ms / 1e3, max_streams, max_state_mb * 2**20, max_queue, idle_timeout)
    token = os.environ.get(TOKEN_VARIABLE) or None
    bundles = [Bundle.open(path) for path in paths]
    settings = Settings(bundles, runtime, limits, Bounds(seconds=client_timeout), token=token, checkpoint=checkpoint)
    configure_log(log, log_level)
    listen(settings, host, port)
