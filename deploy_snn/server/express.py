"""The lane of ordinary infer requests, past the web framework: its own way takes several times as long as a step.

Whatever is out of the ordinary is not read here, and goes the long way.
"""

import gzip
import re
from contextlib import suppress
from dataclasses import dataclass, field

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
class Asked:
    """A request whose body is coming, or has come."""

    path: str
    name: str
    headers: dict[str, str]
    size: int
    body: bytearray = field(default_factory=bytearray)


class Express:
    """Reads ordinary infer requests, and answers them."""

    def __init__(self, repository: Repository, gate: Gate) -> None:
        self.repository, self.gate = repository, gate

    def read(self, data: bytes) -> Asked | None:
        """The request that ``data`` begins, with what is there of its body; None for one that is not ordinary."""
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
        path, name = found[1].decode("ascii"), found[2].decode("ascii")
        if name not in self.repository.models:
            return None
        return Asked(path, name, headers, int(size), bytearray(memoryview(data)[found.end() :]))

    async def answer(self, asked: Asked) -> Response:
        """What a whole request gets, be it a refusal."""
        response = self.gate.refusal("POST", asked.path, asked.headers) or await self._infer(asked)
        if len(response.body) >= SMALL and "gzip" in asked.headers.get("accept-encoding", ""):
            response.body = gzip.compress(response.body, 6)
            response.headers["content-length"] = str(len(response.body))
            response.headers["content-encoding"] = "gzip"
            response.headers.add_vary_header("accept-encoding")
        return response

    def late(self, asked: Asked, seconds: float) -> Response:
        """What one gets whose body has not arrived within some seconds."""
        error = TooSlow(f"the body has not arrived within {seconds:g} s")
        with suppress(TooSlow), self.repository.metrics.request(asked.name):
            raise error
        return refusal(asked.path, error)

    async def _infer(self, asked: Asked) -> Response:
        try:
            model = self.repository.find(asked.name, VERSION)
            with self.repository.metrics.request(asked.name):
                return await answer(model, bytes(asked.body), asked.headers.get(HEADER_LENGTH.lower()))
        except REFUSALS as error:
            return refusal(asked.path, error)
        except Exception:  # noqa: BLE001  (the connection goes on)
            LOGGER.exception("request failed", extra={"fields": {"path": asked.path}})
            return failure()
