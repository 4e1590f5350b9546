"""The lane of ordinary infer requests, past the web framework: its own way takes several times as long as a step.

Whatever is out of the ordinary is not read here, and goes the long way.
"""

import gzip
import re
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Response

from deploy_snn.server.gate import Gate
from deploy_snn.server.infer import answer
from deploy_snn.server.log import LOGGER
from deploy_snn.server.protocol import HEADER_LENGTH
from deploy_snn.server.refusals import REFUSALS, TooSlow, failure, refusal
from deploy_snn.server.repository import VERSION, Repository

HEAD = re.compile(rb"POST (/v2/models/([\w.~-]+)(?:/versions/1)?/infer) HTTP/1\.1\r\n((?:[\w-]+:[ -~]*\r\n)+)\r\n")
EXTRAORDINARY = {"transfer-encoding", "content-encoding", "expect", "upgrade"}
LARGEST = 2**20
"""Bytes of an ordinary body."""
SMALL = 1000
"""Bytes below which an answer is not worth packing."""


@dataclass(frozen=True)
class Head:
    """What stands before a body of ``size`` bytes, as it was ``said`` and as it is read."""

    said: bytes
    path: str
    name: str
    headers: dict[str, str]
    size: int


@dataclass(frozen=True)
class Asked:
    """A request whose body is coming, or has come."""

    head: Head
    body: bytearray


class Express:
    """Reads ordinary infer requests, and answers them."""

    def __init__(self, repository: Repository, gate: Gate) -> None:
        self.repository, self.gate = repository, gate

    def read(self, data: bytes, last: Head | None) -> Asked | None:
        """The request that ``data`` begins, with what is there of its body; None for one that is not ordinary.

        ``last`` is the head of the connection's last request: the next one mostly has the same.
        """
        head = last if last and data.startswith(last.said) else self._head(data)
        if not head or head.name not in self.repository.models:
            return None
        return Asked(head, bytearray(memoryview(data)[len(head.said) :]))

    def _head(self, data: bytes) -> Head | None:
        found = HEAD.match(data)
        if not found:
            return None
        headers: dict[str, str] = {}
        for line in found[3].decode("ascii").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            name = name.lower()
            if name in headers or name in EXTRAORDINARY:
                return None
            headers[name] = value.strip()
        size = headers.get("content-length", "")
        ordinary = size.isdigit() and len(size) < 10 and headers.get("connection", "keep-alive").lower() == "keep-alive"
        most = min(LARGEST, self.repository.settings.body.size)
        if not ordinary or int(size) > most:
            return None
        return Head(found[0], found[1].decode("ascii"), found[2].decode("ascii"), headers, int(size))

    async def answer(self, asked: Asked) -> Response:
        """What a whole request gets, be it a refusal."""
        response = self.gate.refusal("POST", asked.head.path, asked.head.headers) or await self._infer(asked)
        if len(response.body) >= SMALL and "gzip" in asked.head.headers.get("accept-encoding", ""):
            response.body = gzip.compress(response.body, 6)
            response.headers["content-length"] = str(len(response.body))
            response.headers["content-encoding"] = "gzip"
            response.headers.add_vary_header("accept-encoding")
        return response

    def late(self, asked: Asked, seconds: float) -> Response:
        """What one gets whose body has not arrived within some seconds."""
        error = TooSlow(f"the body has not arrived within {seconds:g} s")
        with suppress(TooSlow), self.repository.metrics.request(asked.head.name):
            raise error
        return refusal(asked.head.path, error)

    async def _infer(self, asked: Asked) -> Response:
        try:
            model = self.repository.find(asked.head.name, VERSION)
            with self.repository.metrics.request(asked.head.name):
                return await answer(model, bytes(asked.body), asked.head.headers.get(HEADER_LENGTH.lower()))
        except REFUSALS as error:
            return refusal(asked.head.path, error)
        except Exception:  # noqa: BLE001  (the connection goes on)
            LOGGER.exception("request failed", extra={"fields": {"path": asked.head.path}})
            return failure()
