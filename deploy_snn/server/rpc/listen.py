"""The gRPC server: its port, its authorisation, health checks and reflection."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import explain
from deploy_snn.server.log import log_event
from deploy_snn.server.repository import Repository
from deploy_snn.server.rpc.messages import POOL, SERVICE, methods, parse
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


RESTART_DELAY = 0.1
"""Seconds after which a server that has ended is started again."""


class RpcServer:
    """A gRPC server for the models of a repository. It is created in the event loop in which it runs.

    grpcio ends its server at a request whose path is not UTF-8. It is then started again, and calls in progress are lost.
    """

    def __init__(self, repository: Repository, host: str, port: int) -> None:
        self._repository, self._host, self._port = repository, host, port
        self._service = InferenceService(repository)

    def _create(self) -> Any:
        """Create a server that listens. Raises InvalidInput if the port is in use."""
        settings, host, port = self._repository.settings, self._host, self._port
        options = [
            ("grpc.max_receive_message_length", settings.body.size),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server would share the port in silence
        ]
        interceptors = [_TokenInterceptor(settings.token)] if settings.token else []
        server = grpc.aio.server(interceptors=interceptors, options=options)
        handlers = {method.name: _handler(self._service, method) for method in methods()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(_Health(self._repository), server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=POOL)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if settings.certificate:
                chain, key = (path.read_bytes() for path in settings.certificate)
                server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
            else:
                server.add_insecure_port(address)
        except (RuntimeError, OSError):
            raise InvalidInput(f"cannot listen for gRPC on host {host}, port {port}: is the port in use?") from None
        return server

    async def start(self) -> None:
        """Listen. Raises InvalidInput if the port is in use."""
        self._server = self._create()
        await self._server.start()
        self._supervisor = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        """Start the server again whenever it has ended by itself."""
        while True:
            try:
                await self._server.wait_for_termination()
            except Exception as error:  # noqa: BLE001  (whatever it is, gRPC must go on)
                self._repository.rpc_problem = f"gRPC has ended: {error}"
            else:
                return
            log_event("gRPC ended", logging.ERROR, port=self._port, reason=self._repository.rpc_problem)
            while self._repository.rpc_problem and not self._service.closing.is_set():
                try:
                    self._server = self._create()
                    await self._server.start()
                    self._repository.rpc_problem = None
                except InvalidInput:  # its port is not free yet
                    await asyncio.sleep(RESTART_DELAY)
            log_event("gRPC started again", port=self._port)

    async def stop(self, seconds: float) -> None:
        """Answer the requests in progress, for at most so many seconds, and stop."""
        self._service.close()
        await self._server.stop(seconds)
        await self._supervisor


def _handler(service: InferenceService, method: Any) -> Any:
    """The handler of a method, with its messages and with its errors as gRPC statuses."""
    implementation = getattr(service, method.name)
    kind = GetMessageClass(method.input_type)
    if method.server_streaming:  # it writes messages that are serialised already

        async def stream(_: Any, context: Any) -> None:
            await implementation(context, _headers(context))

        return grpc.stream_stream_rpc_method_handler(stream)

    async def call(data: bytes, context: Any) -> Any:
        try:
            return await implementation(parse(data, kind), _headers(context))
        except Exception as error:  # noqa: BLE001
            explained = explain(error, call=method.name)
            await context.abort(STATUS_CODES.get(explained.status, grpc.StatusCode.UNKNOWN), explained.message)

    return grpc.unary_unary_rpc_method_handler(
        call, response_serializer=GetMessageClass(method.output_type).SerializeToString
    )


def _headers(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
