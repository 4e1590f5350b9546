"""A fast path for small infer requests whose head has the same bytes as one that was parsed and authorised before.

Clients send the same head with every request. A request with a known head needs no HTTP parser, task or future: its body is
parsed when it arrives, and its response is written when its batch ends. All other requests go through ``InferShortcut`` and
get the same responses.
"""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from deploy_snn.server.auth import AuthPolicy
from deploy_snn.server.errors import error_response
from deploy_snn.server.infer import MIN_GZIP_BYTES, PATH, finish
from deploy_snn.server.large import LARGE
from deploy_snn.server.protocol import HEADER_LENGTH, InferRequest, parse_request, render_response
from deploy_snn.server.queue import InferResult
from deploy_snn.server.repository import VERSION, Outcome, Repository
from deploy_snn.server.schema import OCTET_STREAM

MAX_HEADS, MAX_HEAD_BYTES = 512, 4096
"""The largest number of heads to remember, and the largest size of a head."""
END = b"\r\n\r\n"
EXCLUDED = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"))
"""Requests with one of these headers go through ``InferShortcut``."""

BINARY = f"{HEADER_LENGTH.lower()}: %d\r\ncontent-length: %d\r\ncontent-type: {OCTET_STREAM}\r\n".encode()
"""The response headers for binary data."""

Respond = Callable[[bytes, bytes], None]
"""Writes a response. Arguments: the status line and the headers, each with its line end; the body."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The parsed head of an infer request."""

    path: str
    model: str
    version: str
    size: int
    """The size of the body in bytes."""
    json_size: str | None
    """The header with the size of the JSON, if binary data follow it."""
    gzip: bool
    """Whether the client accepts compressed responses."""


class Lane:
    """Answers requests with known heads."""

    def __init__(self, repository: Repository) -> None:
        settings = repository.settings
        self._repository = repository
        self._policy = AuthPolicy(settings.token, settings.hosts)
        self._heads: dict[bytes, KnownHead] = {}
        self._largest = min(LARGE, settings.body.size)
        self._is_open = settings.tracing is None
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, head: bytes) -> KnownHead | None:
        """Return the parsed head, or None for an unknown one."""
        return self._heads.get(head)

    def learn(self, head: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Remember a head that was parsed: of a POST over HTTP/1.1 on a connection that stays open."""
        match = PATH.fullmatch(url.decode("latin-1"))
        if not match or not self._is_open or len(head) > MAX_HEAD_BYTES or b"%" in url or b"?" in url:
            return
        named = Headers(raw=headers)
        size = named.get("content-length", "")
        if any(name in EXCLUDED for name, _ in headers) or not (size.isascii() and size.isdigit()):
            return
        # One line for each header: the parser accepts other line ends too, and would find another end of the head.
        if int(size) > self._largest or head.count(b"\n") != len(headers) or head.count(b"\r\n") != len(headers):
            return
        if self._policy.error_response("POST", match[0], named) is not None:
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[head] = KnownHead(
            path=match[0],
            model=match[1],
            version=match[2] or VERSION,
            size=int(size),
            json_size=named.get(HEADER_LENGTH),
            gzip="gzip" in named.get("accept-encoding", ""),
        )

    def infer(self, known: KnownHead, body: bytes, respond: Respond) -> None:
        """Step a request; ``respond`` is called once, now or when its batch ends."""

        def parse() -> InferRequest:
            return parse_request(body, known.json_size)

        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, Exception):
                _send(error_response(known.path, outcome), respond)
                return
            request, result = outcome
            if sum(array.nbytes for array in result.outputs.values()) > LARGE:
                task = asyncio.get_running_loop().create_task(self._finish(known, request, result, respond))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
            try:
                head, rendered = _render(known, request, result)
            except Exception as error:  # noqa: BLE001  (every error gets a response)
                _send(error_response(known.path, error), respond)
            else:
                respond(head, rendered)

        self._repository.submit(known.model, known.version, known.size, parse, answer)

    async def _finish(self, known: KnownHead, request: InferRequest, result: InferResult, respond: Respond) -> None:
        """Render a large response in a thread."""
        try:
            response = await finish(known.model, request, result, accepts_gzip=known.gzip)
        except Exception as error:  # noqa: BLE001  (every error gets a response)
            response = error_response(known.path, error)
        _send(response, respond)


def _render(known: KnownHead, request: InferRequest, result: InferResult) -> tuple[bytes, bytes]:
    """The head and the body of the response with a small result."""
    rendered, length = render_response(known.model, request, result.outputs, result.steps)
    head = b"HTTP/1.1 200 OK\r\n"
    if known.gzip and len(rendered) >= MIN_GZIP_BYTES:
        rendered = gzip.compress(rendered, 6)
        head += b"content-encoding: gzip\r\nvary: Accept-Encoding\r\n"
    if length is None:
        head += b"content-length: %d\r\ncontent-type: application/json\r\n" % len(rendered)
    else:
        head += BINARY % (length, len(rendered))
    return head, rendered


def _send(response: Response, respond: Respond) -> None:
    lines = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    respond(STATUS_LINE[response.status_code] + lines, bytes(response.body))
