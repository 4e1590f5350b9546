"""The fast path of ordinary infer requests, which bypasses the web framework: the framework takes longer than a step.

Requests with any unusual feature are not handled here; they take the ordinary path through the framework.
"""

import gzip
import re
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Response

from deploy_snn.server.auth import AuthPolicy
from deploy_snn.server.errors import REQUEST_ERRORS, BodyTimeout, error_response, internal_error_response
from deploy_snn.server.infer import infer_response
from deploy_snn.server.log import LOGGER
from deploy_snn.server.protocol import HEADER_LENGTH
from deploy_snn.server.repository import VERSION, Repository

HEAD = re.compile(rb"POST (/v2/models/([\w.~-]+)(?:/versions/1)?/infer) HTTP/1\.1\r\n((?:[\w-]+:[ -~]*\r\n)+)\r\n")
UNSUPPORTED_HEADERS = {"transfer-encoding", "content-encoding", "expect", "upgrade"}
MAX_BODY_BYTES = 2**20
"""Larger bodies take the ordinary path."""
MIN_GZIP_BYTES = 1000
"""Smaller responses are not compressed."""


@dataclass(frozen=True)
class RequestHead:
    """The request line and the headers of a request with a body of ``size`` bytes; ``raw`` is how the client sent them."""

    raw: bytes
    path: str
    name: str
    headers: dict[str, str]
    size: int


@dataclass(frozen=True)
class FastRequest:
    """A request on the fast path, whose body may still be incomplete."""

    head: RequestHead
    body: bytearray


class FastPath:
    """Parses ordinary infer requests and responds to them."""

    def __init__(self, repository: Repository, policy: AuthPolicy) -> None:
        self.repository, self.policy = repository, policy

    def parse(self, data: bytes, last: RequestHead | None) -> FastRequest | None:
        """Parse the start of a request. Return None for one that must take the ordinary path.

        ``data`` holds the head, and as much of the body as has arrived. ``last`` is the head of the connection's previous
        request: most clients send the same head again, which is then not parsed.
        """
        head = last if last and data.startswith(last.raw) else self._parse_head(data)
        if not head or head.name not in self.repository.models:
            return None
        return FastRequest(head, bytearray(memoryview(data)[len(head.raw) :]))

    def _parse_head(self, data: bytes) -> RequestHead | None:
        match = HEAD.match(data)
        if not match:
            return None
        headers: dict[str, str] = {}
        for line in match[3].decode("ascii").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            name = name.lower()
            if name in headers or name in UNSUPPORTED_HEADERS:
                return None
            headers[name] = value.strip()
        size = headers.get("content-length", "")
        ordinary = size.isdigit() and len(size) < 10 and headers.get("connection", "keep-alive").lower() == "keep-alive"
        if not ordinary or int(size) > min(MAX_BODY_BYTES, self.repository.settings.body.size):
            return None
        return RequestHead(match[0], match[1].decode("ascii"), match[2].decode("ascii"), headers, int(size))

    async def respond(self, request: FastRequest) -> Response:
        """Return the response to a complete request, which may be an error response."""
        head = request.head
        response = self.policy.error_response("POST", head.path, head.headers) or await self._infer(request)
        if len(response.body) >= MIN_GZIP_BYTES and "gzip" in head.headers.get("accept-encoding", ""):
            response.body = gzip.compress(response.body, 6)
            response.headers["content-length"] = str(len(response.body))
            response.headers["content-encoding"] = "gzip"
            response.headers.add_vary_header("accept-encoding")
        return response

    def timeout_response(self, request: FastRequest, seconds: float) -> Response:
        """Return the response to a request whose body has not arrived within ``seconds``, and count the request."""
        error = BodyTimeout(f"the body has not arrived within {seconds:g} s")
        with suppress(BodyTimeout), self.repository.metrics.request(request.head.name):
            raise error
        return error_response(request.head.path, error)

    async def _infer(self, request: FastRequest) -> Response:
        head = request.head
        try:
            model = self.repository.find(head.name, VERSION)
            with self.repository.metrics.request(head.name):
                return await infer_response(model, bytes(request.body), head.headers.get(HEADER_LENGTH.lower()))
        except REQUEST_ERRORS as error:
            return error_response(head.path, error)
        except Exception:  # noqa: BLE001  (the connection stays open)
            LOGGER.exception("request failed", extra={"fields": {"path": head.path}})
            return internal_error_response()
