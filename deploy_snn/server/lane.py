"""A short cut for small infer requests whose head is, byte for byte, one that has been parsed and authorised before.

The clients of a model send the same head again and again. Such a request needs no HTTP parser, no task and no future: its
body is parsed where it arrives, and its response is written where its batch ends. All other requests take the way through
``InferShortcut``, with the same answers.
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
"""How many heads are kept, and the largest size of one."""
END = b"\r\n\r\n"
EXCLUDED = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"))
"""A request with one of these headers takes the other way."""

BINARY = f"{HEADER_LENGTH.lower()}: %d\r\ncontent-length: %d\r\ncontent-type: {OCTET_STREAM}\r\n".encode()
"""The headers of a response with binary data."""

Respond = Callable[[bytes, bytes], None]
"""Writes a response: its status line and headers, each with its line end, and its body."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What the head of an infer request says."""

    path: str
    model: str
    version: str
    size: int
    """Of the body, in bytes."""
    json_size: str | None
    """Of the JSON, if binary data follow it; as the header has it."""
    gzip: bool
    """Whether the client accepts compressed responses."""


class Lane:
    """Answers the requests whose heads it knows."""

    def __init__(self, repository: Repository) -> None:
        settings = repository.settings
        self._repository = repository
        self._policy = AuthPolicy(settings.token, settings.hosts)
        self._heads: dict[bytes, KnownHead] = {}
        self._largest = min(LARGE, settings.body.size)
        self._is_open = settings.tracing is None
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, head: bytes) -> KnownHead | None:
        """What a head says, if it is known."""
        return self._heads.get(head)

    def learn(self, head: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep a head that the parser has read: of a POST by HTTP/1.1, after which the connection stays open."""
        match = PATH.fullmatch(url.decode("latin-1"))
        if not match or not self._is_open or len(head) > MAX_HEAD_BYTES or b"%" in url or b"?" in url:
            return
        named = Headers(raw=headers)
        size = named.get("content-length", "")
        if any(name in EXCLUDED for name, _ in headers) or not (size.isascii() and size.isdigit()):
            return
        # A line for each header: the parser may take other line ends than ours, and so another end of the head.
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
            except Exception as error:  # noqa: BLE001  (whatever it is, it has a response)
                _send(error_response(known.path, error), respond)
            else:
                respond(head, rendered)

        self._repository.submit(known.model, known.version, known.size, parse, answer)

    async def _finish(self, known: KnownHead, request: InferRequest, result: InferResult, respond: Respond) -> None:
        """Render a large response in a thread."""
        try:
            response = await finish(known.model, request, result, accepts_gzip=known.gzip)
        except Exception as error:  # noqa: BLE001  (whatever it is, it has a response)
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
