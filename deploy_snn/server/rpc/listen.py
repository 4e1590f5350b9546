"""The gRPC server: its port, its authorisation, health checks and reflection."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import explain
from deploy_snn.server.repository import Repository
from deploy_snn.server.rpc.messages import POOL, SERVICE, methods
from deploy_snn.server.rpc.service import STATUS_CODES, InferenceService

OPEN_CALLS = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", f"/{health.SERVICE_NAME}/")
"""These need no token."""


class _TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the bearer token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        given = dict(details.invocation_metadata or ()).get("authorization", "")
        if details.method.startswith(OPEN_CALLS) or compare_digest(str(given).encode(), self._expected):
            return await continuation(details)

        async def refuse(_: Any, context: Any) -> None:
            message = "a bearer token is required: send the metadata 'authorization: Bearer TOKEN'"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

        handler = await continuation(details)
        if handler is not None and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(refuse)


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Serving, for as long as all models can answer requests. ``""`` and the service's name are known."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  (the protocol's name)
        if request.service not in ("", SERVICE):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service[:80]}")
        status = health_pb2.HealthCheckResponse
        return status(status=status.NOT_SERVING if self._repository.problems() else status.SERVING)


class RpcServer:
    """A gRPC server for the models of a repository. It is created in the event loop in which it runs."""

    def __init__(self, repository: Repository) -> None:
        settings = repository.settings
        self._service = InferenceService(repository)
        options = [
            ("grpc.max_receive_message_length", settings.body.size),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server would share the port in silence
        ]
        interceptors = [_TokenInterceptor(settings.token)] if settings.token else []
        self._server = grpc.aio.server(interceptors=interceptors, options=options)
        handlers = {method.name: _handler(self._service, method) for method in methods()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(_Health(repository), self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)

    async def start(self, host: str, port: int, certificate: tuple[Path, Path] | None) -> None:
        """Listen. ``certificate`` is the files of a certificate and its key. Raises InvalidInput if the port is in use."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if certificate:
                chain, key = (path.read_bytes() for path in certificate)
                self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
            else:
                self._server.add_insecure_port(address)
        except (RuntimeError, OSError):
            raise InvalidInput(f"cannot listen for gRPC on host {host}, port {port}: is the port in use?") from None
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Answer the requests in progress, for at most so many seconds, and stop."""
        self._service.closing.set()
        await self._server.stop(seconds)


def _handler(service: InferenceService, method: Any) -> Any:
    """The handler of a method, with its messages and with its errors as gRPC statuses."""
    implementation = getattr(service, method.name)
    codecs = {
        "request_deserializer": GetMessageClass(method.input_type).FromString,
        "response_serializer": GetMessageClass(method.output_type).SerializeToString,
    }
    if method.server_streaming:

        async def stream(requests: Any, _: Any) -> Any:
            async for answer in implementation(requests):
                yield answer

        return grpc.stream_stream_rpc_method_handler(stream, **codecs)

    async def call(asked: Any, context: Any) -> Any:
        try:
            return await implementation(asked)
        except Exception as error:  # noqa: BLE001
            explained = explain(error, call=method.name)
            await context.abort(STATUS_CODES.get(explained.status, grpc.StatusCode.UNKNOWN), explained.message)

    return grpc.unary_unary_rpc_method_handler(call, **codecs)
