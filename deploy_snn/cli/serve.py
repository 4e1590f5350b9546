"""``deploy-snn serve``: serve bundles over the Open Inference Protocol."""

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deploy_snn.cli.model import opening
from deploy_snn.cli.options import Dt, N, Seed, Set, Shape
from deploy_snn.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from deploy_snn.server.redis_store import RedisStore
    from deploy_snn.server.store import OpenStore
    from deploy_snn.server.tracing import Tracing

TOKEN_VARIABLE = "DEPLOY_SNN_TOKEN"  # noqa: S105


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE|MODEL...",
            help="Bundles, names of neurons, .py files, or files of other frameworks. Each is served under the name of its "
            "folder or file.",
        ),
    ],
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free port.")] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", min=1, max=65535, help="Port for gRPC; without it, there is none.")
    ] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option("--ssl-certfile", metavar="FILE", help="TLS certificate, in PEM form.")
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, typer.Option("--ssl-keyfile", metavar="FILE", help="Private key of the TLS certificate.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="Runtime that runs the bundles.",
            show_default="c if a bundle has it and a compiler is found, else onnxruntime-cpu",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Maximum number of rows in a batch.")] = 64,
    max_wait_ms: Annotated[
        float, typer.Option("--max-wait-ms", min=0, help="Time in ms that a batch waits for more requests.")
    ] = 0.0,
    max_streams: Annotated[int, typer.Option("--max-streams", min=1, help="Maximum number of streams per model.")] = 10_000,
    max_state_mb: Annotated[
        int, typer.Option("--max-state-mb", min=1, help="Maximum memory in MB of a model's states.")
    ] = 1024,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=1, help="Maximum number of waiting requests per model.")
    ] = 4096,
    idle_timeout: Annotated[
        float, typer.Option("--idle-timeout", min=0.1, help="Seconds after which an idle stream is dropped.")
    ] = 600,
    client_timeout: Annotated[
        float,
        typer.Option("--client-timeout", min=0.1, help="Seconds a client may take to send a request or read a response."),
    ] = 60,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Name of this server in requests, beside localhost, IP addresses and the machine's own name; repeat it "
            "for several, '*' for any.",
        ),
    ] = None,
    model_control: Annotated[
        bool, typer.Option("--model-control", help="Allow clients to load and unload the bundles.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="DIR", help="Folder to store streams in, so that they survive the server."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="Redis to store streams in, redis://HOST:PORT/DB, so that any server with the same store can step them.",
        ),
    ] = None,
    weights_every: Annotated[
        int,
        typer.Option(
            "--weights-every",
            min=1,
            metavar="STEPS",
            help="Steps after which --checkpoint or --store stores the weights of a stream that learns again. In between "
            "it stores the inputs, from which a server computes the weights when it reads the stream.",
        ),
    ] = 100,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace",
            help="Send an OpenTelemetry span for each request that steps, reads or writes a stream, as the environment "
            "variables OTEL_* say; by default to a collector at localhost:4318.",
        ),
    ] = False,
    log: Annotated[
        Literal["text", "json"], typer.Option("--log", help="Format of the log on stderr, one event per line.")
    ] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning"],
        typer.Option("--log-level", help="Lowest level to log; debug logs every stream."),
    ] = "info",
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
    seed: Seed = 0,
) -> None:
    """Serve models to many clients at once, each with a stream of its own.

    If the environment variable DEPLOY_SNN_TOKEN is set, every request must carry it as a bearer token.
    """
    try:
        from deploy_snn.server import BodyLimits, Checkpoint, Limits, Settings, configure_log, listen
    except ImportError as error:
        raise Unavailable(
            f"serve needs {error.name}: install the extra 'serve' of deploy-snn (in its folder: pip install '.[serve]')"
        ) from None
    if (ssl_certfile is None) != (ssl_keyfile is None):
        raise InvalidInput("--ssl-certfile and --ssl-keyfile belong together: give both")
    for path in (ssl_certfile, ssl_keyfile):
        if path is not None and not path.is_file():
            raise InvalidInput(f"{path} is not a file")
    if checkpoint and store:
        raise InvalidInput("--checkpoint is for one server and --store for several: choose one")
    open_store: OpenStore | None = partial(Checkpoint, checkpoint) if checkpoint else None
    if store:
        open_store = partial(_redis_store(), store, idle_timeout)
    limits = Limits(max_batch, max_wait_ms / 1e3, max_streams, max_state_mb * 2**20, max_queue, idle_timeout)
    token = os.environ.get(TOKEN_VARIABLE) or None
    with ExitStack() as stack:
        open_model = partial(opening, stack=stack, n=n, shape=shape, dt=dt, sets=sets, seed=seed, golden_steps=0)
        bundles = [open_model(model, runtime=runtime)() for model in models]
        settings = Settings(
            bundles,
            runtime,
            limits,
            BodyLimits(seconds=client_timeout),
            token=token,
            hosts=allowed_host or (),
            model_control=model_control,
            certificate=(ssl_certfile, ssl_keyfile) if ssl_certfile and ssl_keyfile else None,
            grpc_port=grpc_port,
            open_store=open_store,
            weights_every=weights_every,
            tracing=_tracing() if trace else None,
        )
        configure_log(log, log_level)
        listen(settings, host, port)


def _redis_store() -> "type[RedisStore]":
    try:
        from deploy_snn.server.redis_store import RedisStore
    except ImportError as error:
        raise Unavailable(
            f"--store needs {error.name}: install the extra 'redis' of deploy-snn (in its folder: pip install '.[redis]')"
        ) from None
    return RedisStore


def _tracing() -> "Tracing":
    try:
        from deploy_snn.server.tracing import export_by_environment

        return export_by_environment()
    except ImportError as error:
        raise Unavailable(
            f"--trace needs {error.name}: install the extra 'otel' of deploy-snn (in its folder: pip install '.[otel]')"
        ) from None
