"""A client's connection: uvicorn's HTTP/1.1, with limits on the time and the size of a request's head, and a fast path."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deploy_snn.server.lane import END, Lane

if TYPE_CHECKING:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

BODY_HEADERS = (b"content-length", b"transfer-encoding")
MAX_HEAD_BYTES = 64 * 2**10
"""The largest size of a request's head: all that comes before its body."""


class Connection(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol, whose keep-alive timeout also limits the time for a request's head.

    Uvicorn itself stops its keep-alive timer at the first byte of a request. The time for a body is limited by
    ``read_body``.
    """

    def __init__(self, lane: Lane, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lane = lane
        self._between = True
        """Whether the parser is between two messages."""
        self._raw_head = b""
        """The bytes of the head that is being parsed, if they arrived together and at the start of a read."""
        self._in_lane = self._closing = False
        """Whether the lane has a request of this connection, and whether to close after the response."""
        self._held = bytearray()
        """The bytes that arrived while the lane has a request."""
        self._idle_since = 0.0
        self._in_head = True
        """Whether the next byte belongs to a head."""
        self._head_bytes = self._bytes_received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: list[RequestResponseCycle] = []
        """The requests whose response is not complete. A client may send several without waiting."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_head()

    def data_received(self, data: bytes) -> None:
        if self._in_lane:
            self._held += data
            self.flow.pause_reading()
            return
        if self._between and (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused:
            end = data.find(END)
            self._raw_head = data[:end] if end >= 0 else b""
            known = self._lane.find(self._raw_head)
            if known is not None and len(data) == end + len(END) + known.size:
                self._unset_keepalive_if_required()
                self._in_lane = True
                self._lane.infer(known, data[end + len(END) :], self._respond)
                return
        self._parse(data)
        self._raw_head = b""

    def _respond(self, head: bytes, body: bytes) -> None:
        """Write the response of the lane, then process the bytes that arrived in the meantime."""
        self._in_lane, self._idle_since = False, self.loop.time()
        if self.transport.is_closing():
            return
        if b"\r\nconnection: close\r\n" in head:
            self._closing = True
        elif self._closing:
            head += b"connection: close\r\n"
        default = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        self.transport.write(b"".join((head, default, b"\r\n", body)))
        if self._closing:
            self.transport.close()
            return
        self._limit_head()
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self.flow.resume_reading()
            self.data_received(held)

    def shutdown(self) -> None:
        if self._in_lane:
            self._closing = True
        else:
            super().shutdown()

    def _parse(self, data: bytes) -> None:
        self._bytes_received = len(data)
        super().data_received(data)
        if self._in_head:
            self._head_bytes += self._bytes_received
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()
            self._limit_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up_responses()
        super().connection_lost(exc)
        self._unlimit_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = False

    def on_headers_complete(self) -> None:
        """Refuse a body behind ``Upgrade``: the parser would leave it in the connection, to be read as a request.

        An upgrade to anything but a WebSocket is ignored; the connection ends with the response.
        """
        upgrade = self.parser.should_upgrade()
        if upgrade and any(name in BODY_HEADERS for name, _ in self.headers):
            raise ValueError("a request to upgrade the connection has a body")  # the parser makes it a 400
        self._in_head, self._head_bytes = False, 0
        self._unlimit_head()
        if self._raw_head and self._learnable():
            self._lane.learn(self._raw_head, self.url, self.headers)
        self._raw_head = b""  # it does not belong to a second head in the same read
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete] + [self.cycle]
        if upgrade and not self._should_upgrade():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between = True
        self._in_head, self._bytes_received = True, 0  # what follows in the same piece is not counted

    def _learnable(self) -> bool:
        parser = self.parser
        version, upgrade = parser.get_http_version(), parser.should_upgrade()
        return parser.get_method() == b"POST" and version == "1.1" and parser.should_keep_alive() and not upgrade

    def handle_websocket_upgrade(self) -> None:
        """Become a WebSocket, whose handshake must then be complete in time."""
        self._unlimit_head()
        super().handle_websocket_upgrade()
        protocol = cast("WebSocketsSansIOProtocol", self.transport.get_protocol())

        def close_unless_complete() -> None:
            if not protocol.handshake_complete:
                self.transport.close()

        self.loop.call_later(self.timeout_keep_alive, close_unless_complete)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP.

        Where a valid head came before it, that request has its own response, or is about to get one: send no second one.
        """
        answered = self.cycle is not None and self.cycle.response_started
        self._give_up_responses()
        if answered:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _give_up_responses(self) -> None:
        """Let the requests in progress end without writing to the connection, which is closing."""
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True

    def _limit_head(self) -> None:
        """Close the connection if a head is not complete in time. While a request is in progress, the next one may wait."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._timer is None and self.transport.get_protocol() is self:
            self._idle_since = self.loop.time()
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._on_timeout)

    def _on_timeout(self) -> None:
        """Close the connection, unless the lane has had a request since: the lane does not restart the timer."""
        now = self.loop.time()
        left = self.timeout_keep_alive - (0 if self._in_lane else now - self._idle_since)
        if left <= 0.001:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(left, self._on_timeout)

    def _unlimit_head(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
