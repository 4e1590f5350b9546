"""A Ray Serve application: replicas of the server of ``deploy-snn serve``, with their streams in one Redis.

``serve run app:build bundles=../../export/lif store=redis://127.0.0.1:6379/0 replicas=3``
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ray import serve
from ray.serve.config import RequestRouterConfig

from deploy_snn.bundle import Bundle
from deploy_snn.cli.serve import TOKEN_VARIABLE
from deploy_snn.server import Limits, Settings
from deploy_snn.server.app import create_app
from deploy_snn.server.redis_store import RedisStore
from deploy_snn.server.repository import Repository

REPLICA_HEADER = b"serve-replica"
"""The header of responses with the replica that has stepped the request."""
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


class Arguments(BaseModel, extra="forbid"):
    """The arguments of the application."""

    bundles: str
    """Paths of bundles, separated by commas. The name of a model is the name of its folder."""
    store: str
    """The address of the Redis that all replicas share."""
    replicas: int = 1
    runtime: str = "onnxruntime-cpu"
    idle_timeout: float = 600.0
    """Seconds after which an idle stream is dropped."""
    hosts: str = ""
    """Names of this server in requests, beside localhost and IP addresses, separated by commas."""
    cpus: float = 1.0
    """Cores that Ray reserves for a replica."""


def create(arguments: Arguments) -> Any:
    """Create the ASGI application of one replica, in its process."""
    bundles = [Bundle.open(path) for path in arguments.bundles.split(",")]
    settings = Settings(
        bundles,
        arguments.runtime,
        Limits(idle_timeout=arguments.idle_timeout),
        token=os.environ.get(TOKEN_VARIABLE) or None,
        hosts=[name for name in arguments.hosts.split(",") if name],
        open_store=partial(RedisStore, arguments.store, arguments.idle_timeout),
    )
    repository = Repository(settings)
    repository.prepare()
    app, replica = create_app(repository), serve.get_replica_context().replica_id.unique_id.encode()

    async def named(scope: Any, receive: Any, send: Any) -> None:
        async def send_named(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], (REPLICA_HEADER, replica)]}
            await send(message)

        await app(scope, receive, send_named)

    return named


def build(arguments: Arguments) -> serve.Application:
    """Build the application. Requests with the same session header (``x-session-id``) go to the same replica."""
    absolute = ",".join(str(Path(path).resolve()) for path in arguments.bundles.split(","))
    arguments = arguments.model_copy(update={"bundles": absolute})

    def app() -> Any:
        return create(arguments)

    @serve.deployment(
        name="deploy_snn",
        num_replicas=arguments.replicas,
        max_ongoing_requests=4096,  # the replica itself steps them in batches
        ray_actor_options={"num_cpus": arguments.cpus},
        health_check_period_s=1,
        health_check_timeout_s=5,
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER, request_router_kwargs={"num_fallback_replicas": 0}
        ),
    )
    @serve.ingress(app)
    class Streams:
        """A replica."""

    return Streams.bind()
