"""A client's connection: nobody holds one for ever by saying half a request, or by not taking its answer."""

import asyncio
import os
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 * 2**10
"""Bytes of a request before its body."""


class Connection(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, whose keep-alive time-out also bounds a request's head and an answer's way out.

    (uvicorn itself stops its clock at the first byte; a body has ``read_body``.)
    """

    _late: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The kernel drops a connection whose other end takes nothing for so long. (By a copy of the descriptor, as uvloop's
        # own sockets cannot be set.)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
            if own.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * self.timeout_keep_alive)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head += len(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late:
            self._late.cancel()

    def send_400_response(self, msg: str) -> None:
        """What follows a head is no HTTP; the head itself may have had its answer, or be about to get one."""
        answered = self.cycle is not None and self.cycle.response_started
        if self.cycle:
            self.cycle.disconnected = True
        if answered:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _watch(self) -> None:
        """While no request is under way, its head is waited for: as long, and as large, as it may be."""
        became_websocket = self.transport.get_protocol() is not self
        if became_websocket or not (self.cycle is None or self.cycle.response_complete):
            self._head = 0
            if self._late:
                self._late.cancel()
                self._late = None
        elif self._head > MOST_HEAD:
            self.transport.close()
        elif not self._late:
            self._late = self.loop.call_later(self.timeout_keep_alive, self.transport.close)
