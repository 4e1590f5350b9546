"""A short cut for small infer requests whose head is, byte for byte, one that has been parsed and authorised before.

The clients of a model send the same head again and again. Such a request needs no HTTP parser, no task and no future: its
body is parsed where it arrives, and its response is written where its batch ends. All other requests take the way through
``InferShortcut``, with the same answers.
"""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from deploy_snn.server.auth import AuthPolicy
from deploy_snn.server.errors import error_response
from deploy_snn.server.infer import MIN_GZIP_BYTES, PATH, finish
from deploy_snn.server.large import LARGE
from deploy_snn.server.protocol import HEADER_LENGTH, InferRequest, parse_request, render_response
from deploy_snn.server.queue import InferResult
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.server.schema import OCTET_STREAM

MAX_HEADS, MAX_HEAD_BYTES = 512, 4096
"""How many heads are kept, and the largest size of one."""
END = b"\r\n\r\n"
EXCLUDED = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"))
"""A request with one of these headers takes the other way."""

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
        call = _Call(self, known, respond)
        try:
            model = self._repository.find(known.model, known.version)
        except Exception as error:  # noqa: BLE001  (whatever it is, it has a response)
            call.refuse(error)
            return
        try:
            self._repository.in_flight.take(known.size)
            call.taken = known.size
            call.request = request = parse_request(body, known.json_size)
            model.submit(request, call.end)
        except Exception as error:  # noqa: BLE001
            call.end(error)

    def count(self, call: "_Call", error: Exception | None) -> None:
        """Count a request that has ended."""
        self._repository.in_flight.give_back(call.taken)
        self._repository.metrics.count(call.known.model, error, perf_counter() - call.begun)

    def respond_later(self, call: "_Call", request: InferRequest, result: InferResult) -> None:
        """Render a large response in a thread."""
        task = asyncio.get_running_loop().create_task(self._respond(call, request, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, call: "_Call", request: InferRequest, result: InferResult) -> None:
        error = None
        try:
            response = await finish(call.known.model, request, result, accepts_gzip=call.known.gzip)
        except Exception as raised:  # noqa: BLE001
            error, response = raised, error_response(call.known.path, raised)
        self.count(call, error)
        call.send(response)


class _Call:
    """One request on its way."""

    __slots__ = ("begun", "known", "lane", "request", "respond", "taken")

    def __init__(self, lane: Lane, known: KnownHead, respond: Respond) -> None:
        self.lane, self.known, self.respond = lane, known, respond
        self.begun, self.taken = perf_counter(), 0
        self.request: InferRequest | None = None

    def end(self, result: InferResult | Exception) -> None:
        """Answer with a result, or with an error."""
        request, known = self.request, self.known
        if isinstance(result, InferResult) and request is not None:
            if sum(array.nbytes for array in result.outputs.values()) > LARGE:
                self.lane.respond_later(self, request, result)
                return
            try:
                rendered, length = render_response(known.model, request, result.outputs, result.steps)
            except Exception as error:  # noqa: BLE001
                result = error
            else:
                self.lane.count(self, None)
                self._write(rendered, length)
                return
        if isinstance(result, Exception):
            self.lane.count(self, result)
            self.refuse(result)

    def _write(self, rendered: bytes, length: int | None) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        if self.known.gzip and len(rendered) >= MIN_GZIP_BYTES:
            rendered = gzip.compress(rendered, 6)
            head += b"content-encoding: gzip\r\nvary: Accept-Encoding\r\n"
        if length is None:
            head += b"content-length: %d\r\ncontent-type: application/json\r\n" % len(rendered)
        else:
            named = HEADER_LENGTH.lower().encode(), length, len(rendered), OCTET_STREAM.encode()
            head += b"%b: %d\r\ncontent-length: %d\r\ncontent-type: %b\r\n" % named
        self.respond(head, rendered)

    def refuse(self, error: Exception) -> None:
        """Respond with an error."""
        self.send(error_response(self.known.path, error))

    def send(self, response: Response) -> None:
        """Send a response."""
        lines = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        self.respond(STATUS_LINE[response.status_code] + lines, bytes(response.body))
