"""The way of infer requests past the framework: its own way to a handler takes several times as long as a step."""

import re

from fastapi import FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from deploy_snn.server.log import LOGGER
from deploy_snn.server.refusals import REFUSALS, failure, refusal
from deploy_snn.server.repository import VERSION
from deploy_snn.server.routes import infer

INFER = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/infer")
SMALL = 1000
"""Bytes below which an answer is not worth packing."""


class Express:
    """Calls the handler of infer requests itself, and leaves everything else to ``app``."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.packed = GZipMiddleware(app, minimum_size=SMALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = INFER.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if not found:
            await self.packed(scope, receive, send)
            return
        request = Request({**scope, "app": self.app}, receive)
        response = await self._infer(request, found["name"], found["version"] or VERSION)
        packs = "gzip" in request.headers.get("accept-encoding", "")
        await (GZipMiddleware(response, minimum_size=SMALL) if packs else response)(scope, receive, send)

    @staticmethod
    async def _infer(request: Request, name: str, version: str) -> Response:
        try:
            return await infer(request, name, version)
        except REFUSALS as error:
            return refusal(request.url.path, error)
        except Exception:  # noqa: BLE001  (the connection goes on)
            LOGGER.exception("request failed", extra={"fields": {"path": request.url.path}})
            return failure()
