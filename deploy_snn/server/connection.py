"""A client's connection: ordinary infer requests take the express lane, and nobody holds one for ever.

That would be by saying half a request, or by not taking its answer.
"""

import asyncio
import os
import socket
from http import HTTPStatus
from typing import Any

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deploy_snn.server.express import Asked, Express, Head

MOST_HEAD = 64 * 2**10
"""Bytes of a request before its body."""


class Connection(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, whose keep-alive time-out also bounds a request's head and an answer's way out.

    (uvicorn itself stops its clock at the first byte; a body has ``read_body``.)
    """

    def __init__(self, *arguments: Any, express: Express, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._express = express
        self._within = False
        """Whether uvicorn's parser has begun a request, and not ended it."""
        self._head = 0
        self._since: float | None = None
        """Since when nothing has been going on but waiting for a request; None while something is."""
        self._late: asyncio.TimerHandle | None = None
        self._last: Head | None = None
        self._asked: Asked | None = None
        self._answering: asyncio.Task[None] | None = None
        self._behind = b""
        """What came while a request of the express lane was answered."""
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The kernel drops a connection whose other end takes nothing for so long. (By a copy of the descriptor, as uvloop's
        # own sockets cannot be set.)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
            if own.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * self.timeout_keep_alive)
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._answering:
            self._behind += data
            self.transport.pause_reading()
            return
        if self._asked:
            self._asked.body.extend(data)
        elif self._rests():
            self._asked, self._since = self._express.read(data, self._last), None
        if not self._asked:
            super().data_received(data)
            self._head += len(data)
        elif len(self._asked.body) >= self._asked.head.size:
            self._begin(self._asked)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late:
            self._late.cancel()

    def shutdown(self) -> None:
        """End as soon as what is under way has been answered."""
        if self._answering:
            self._ending = True
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._within = False

    def send_400_response(self, msg: str) -> None:
        """What follows a head is no HTTP; the head itself may have had its answer, or be about to get one."""
        answered = self.cycle is not None and self.cycle.response_started
        if self.cycle:
            self.cycle.disconnected = True
        if answered:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _begin(self, asked: Asked) -> None:
        self._unset_keepalive_if_required()
        size = asked.head.size
        self._last, self._asked, self._behind = asked.head, None, bytes(memoryview(asked.body)[size:])
        del asked.body[size:]
        self._answering = self.loop.create_task(self._answer(asked))
        self.tasks.add(self._answering)
        self._answering.add_done_callback(self.tasks.discard)

    async def _answer(self, asked: Asked) -> None:
        response = await self._express.answer(asked)
        await self.flow.drain()
        self._answering = None
        if self.transport.is_closing():
            return
        self._send(response)
        behind, self._behind = self._behind, b""
        if behind and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(behind)
        self._watch()

    def _send(self, response: Response) -> None:
        """A response in one piece: in two it would take the network, and the client, twice the time."""
        closes = self._ending or response.headers.get("connection") == "close"
        headers = [*self.server_state.default_headers, *response.raw_headers]
        if self._ending:
            headers.append((b"connection", b"close"))
        lines = [b"HTTP/1.1 %d %s" % (response.status_code, HTTPStatus(response.status_code).phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", response.body]))
        self.server_state.total_requests += 1
        if closes:
            self.transport.close()

    def _rests(self) -> bool:
        """Whether what comes next begins a request."""
        return not self._within and (self.cycle is None or self.cycle.response_complete)

    def _waits(self) -> bool:
        """Whether it is the client's turn to say what it wants."""
        became_websocket = self.transport.get_protocol() is not self
        idle = self.cycle is None or self.cycle.response_complete
        return not became_websocket and not self._answering and idle

    def _watch(self) -> None:
        """While no request is under way, one is waited for: as long, and as large, as it may be."""
        if not self._waits():
            self._head, self._since = 0, None
        elif self._head > MOST_HEAD:
            self.transport.close()
        elif self._since is None:
            self._since = self.loop.time()
            if not self._late:
                self._late = self.loop.call_at(self._since + self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Its time may be over: one timer that looks again costs less than one for each request."""
        self._late = None
        if self._since is None:
            return
        over = self._since + self.timeout_keep_alive
        if self.loop.time() < over:
            self._late = self.loop.call_at(over, self._look)
            return
        if self._asked:
            self._send(self._express.late(self._asked, self.timeout_keep_alive))
        self.transport.close()
