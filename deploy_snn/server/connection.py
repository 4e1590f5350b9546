"""A client's connection: sends ordinary infer requests to the fast path, and limits how long a client may keep it waiting.

A client keeps a connection waiting by sending half a request, or by not reading a response.
"""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deploy_snn.server.fast_path import FastPath, FastRequest, RequestHead

if TYPE_CHECKING:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

BODY_HEADERS = (b"content-length", b"transfer-encoding")
MAX_HEAD_BYTES = 64 * 2**10
"""The largest size of a request's head: all that comes before its body."""


class Connection(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol, whose keep-alive timeout also limits the time for a request's head and a response.

    Uvicorn itself stops its keep-alive timer at the first byte of a request. The time for a body is limited by
    ``read_body``, or here on the fast path.
    """

    def __init__(self, *arguments: Any, fast_path: FastPath, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._fast_path = fast_path
        self._parsing_request = False
        """Whether uvicorn's parser is inside a request."""
        self._head_bytes = 0
        self._waiting_since: float | None = None
        """Since when the connection has been waiting for a request; None while one is in progress."""
        self._timer: asyncio.TimerHandle | None = None
        self._last_head: RequestHead | None = None
        self._request: FastRequest | None = None
        """The request on the fast path whose body is still arriving."""
        self._response_task: asyncio.Task[None] | None = None
        self._pipelined = b""
        """Data that arrived while a request on the fast path was in progress."""
        self._closing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        if self._response_task:
            self._pipelined += data
            self.transport.pause_reading()
            return
        if self._request:
            self._request.body.extend(data)
        elif self._between_requests():
            self._request, self._waiting_since = self._fast_path.parse(data, self._last_head), None
        if not self._request:
            super().data_received(data)
            self._head_bytes += len(data)
        elif len(self._request.body) >= self._request.head.size:
            self._start_response(self._request)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def shutdown(self) -> None:
        """Close the connection, after the response to a request that is in progress."""
        if self._response_task:
            self._closing = True
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        self._parsing_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a body behind ``Upgrade``: the parser would leave it in the connection, to be read as a request.

        An upgrade to anything but a WebSocket is ignored; the connection ends with the response.
        """
        upgrade = self.parser.should_upgrade()
        if upgrade and any(name in BODY_HEADERS for name, _ in self.headers):
            raise ValueError("a request to upgrade the connection has a body")  # the parser makes it a 400
        super().on_headers_complete()
        if upgrade and not self._should_upgrade():
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """Become a WebSocket, whose handshake must then be complete in time."""
        super().handle_websocket_upgrade()
        protocol = cast("WebSocketsSansIOProtocol", self.transport.get_protocol())

        def close_unless_complete() -> None:
            if not protocol.handshake_complete:
                self.transport.close()

        self.loop.call_later(self.timeout_keep_alive, close_unless_complete)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._parsing_request = False

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP.

        Where a valid head came before it, that request has its own response, or is about to get one: send no second one.
        """
        answered = self.cycle is not None and self.cycle.response_started
        if self.cycle:
            self.cycle.disconnected = True
        if answered:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _start_response(self, request: FastRequest) -> None:
        self._unset_keepalive_if_required()
        size = request.head.size
        self._last_head, self._request, self._pipelined = request.head, None, bytes(memoryview(request.body)[size:])
        del request.body[size:]
        self._response_task = self.loop.create_task(self._respond(request))
        self.tasks.add(self._response_task)
        self._response_task.add_done_callback(self.tasks.discard)

    async def _respond(self, request: FastRequest) -> None:
        response = await self._fast_path.respond(request)
        await self.flow.drain()
        self._response_task = None
        if self.transport.is_closing():
            return
        self._send(response)
        pipelined, self._pipelined = self._pipelined, b""
        if pipelined and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(pipelined)
        self._update_timer()

    def _send(self, response: Response) -> None:
        """Write head and body in one call: in two, the network and the client would take twice as long."""
        close = self._closing or response.headers.get("connection") == "close"
        headers = [*self.server_state.default_headers, *response.raw_headers]
        if self._closing:
            headers.append((b"connection", b"close"))
        lines = [b"HTTP/1.1 %d %s" % (response.status_code, HTTPStatus(response.status_code).phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", response.body]))
        self.server_state.total_requests += 1
        if close:
            self.transport.close()

    def _between_requests(self) -> bool:
        """Whether the next byte starts a request."""
        return not self._parsing_request and (self.cycle is None or self.cycle.response_complete)

    def _waiting_for_request(self) -> bool:
        """Whether the server has nothing to do before the client sends the rest of a request."""
        upgraded = self.transport.get_protocol() is not self
        idle = self.cycle is None or self.cycle.response_complete
        return not upgraded and not self._response_task and idle

    def _update_timer(self) -> None:
        """Limit the time and the size of a request's head, while no request is in progress."""
        if not self._waiting_for_request():
            self._head_bytes, self._waiting_since = 0, None
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.transport.close()
        elif self._waiting_since is None:
            self._waiting_since = self.loop.time()
            if not self._timer:
                self._timer = self.loop.call_at(self._waiting_since + self.timeout_keep_alive, self._check_timeout)

    def _check_timeout(self) -> None:
        """Close the connection if its time is up; else check again later. One timer is cheaper than one per request."""
        self._timer = None
        if self._waiting_since is None:
            return
        deadline = self._waiting_since + self.timeout_keep_alive
        if self.loop.time() < deadline:
            self._timer = self.loop.call_at(deadline, self._check_timeout)
            return
        if self._request:
            self._send(self._fast_path.timeout_response(self._request, self.timeout_keep_alive))
        self.transport.close()
