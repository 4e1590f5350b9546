"""Running the server: its socket, its signals and its shutdown."""

import gc
import math
import os
import resource
import signal
import socket
import sys
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn

from deploy_snn.errors import InvalidInput
from deploy_snn.server.app import create_app
from deploy_snn.server.connection import Connection
from deploy_snn.server.lane import Lane
from deploy_snn.server.repository import Repository, Settings

if TYPE_CHECKING:
    import asyncio

    from deploy_snn.server.rpc import RpcServer

MAX_MESSAGE = 4 * 2**20
"""The largest size of a WebSocket message in bytes. Uvicorn gathers one for each connection, whatever their number."""
SHUTDOWN_TIMEOUT = 30
"""Seconds that requests in progress may still take when the server shuts down."""


class Server(uvicorn.Server):
    """Limits the time in which clients must read, and ends the live monitor's endless responses at shutdown."""

    def __init__(self, config: uvicorn.Config, repository: Repository) -> None:
        super().__init__(config)
        self.repository = repository
        self._rpc: RpcServer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in (found for server in self.servers for found in server.sockets):
            # The kernel drops a connection whose peer acknowledges no data for this long; connections inherit the option.
            # It is set on a copy of the descriptor, because uvloop's sockets do not support setsockopt.
            with socket.socket(fileno=os.dup(listening.fileno())) as duplicate:
                if duplicate.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
                    milliseconds = 1000 * self.config.timeout_keep_alive
                    duplicate.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

        settings = self.repository.settings
        if settings.grpc_port is not None and not self.should_exit:
            from deploy_snn.server.rpc import RpcServer  # noqa: PLC0415  (it imports gRPC, which takes time and memory)

            rpc = RpcServer(self.repository, self.config.host, settings.grpc_port)
            await rpc.start()
            self._rpc = rpc

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._rpc:
            await self._rpc.stop(SHUTDOWN_TIMEOUT)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.repository.monitor.closing = True
        super().handle_exit(sig, frame)


def listen(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises InvalidInput for a bundle that cannot be served, or an address that cannot be used.
    """
    repository = Repository(settings)
    repository.prepare()
    config = uvicorn.Config(
        create_app(repository),
        host,
        port,
        http=cast("type[asyncio.Protocol]", partial(Connection, Lane(repository))),
        timeout_keep_alive=math.ceil(settings.body.seconds),
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # compressing a step takes longer than sending it
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        proxy_headers=False,
        ssl_certfile=settings.certificate and settings.certificate[0],
        ssl_keyfile=settings.certificate and settings.certificate[1],
    )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection takes a descriptor
    server = Server(config, repository)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again at the end of its own shutdown
        signal.signal(number, lambda *_: sys.exit(0))
    gc.set_threshold(50_000, 50, 50)  # requests create many objects and few cycles
    gc.freeze()  # a full collection would traverse all that exists now, which takes 200 ms
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
        raise InvalidInput(f"cannot listen on host {host}, port {port}: is the port in use?") from None
