"""The way of infer requests past the framework: its own way to a handler takes several times as long as a step."""

import re

from fastapi import Request
from fastapi.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy_snn.server.refusals import REFUSALS, refusal
from deploy_snn.server.routes import infer

INFER = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/infer")
SMALL = 1000
"""Bytes below which an answer is not worth packing."""


class Express:
    """Calls the handler of infer requests itself, and leaves everything else to ``app``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = GZipMiddleware(app, minimum_size=SMALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = INFER.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if not found:
            await self.app(scope, receive, send)
            return
        try:
            response = await infer(Request(scope, receive), found["name"], found["version"] or "1")
        except REFUSALS as error:
            response = refusal(scope["path"], error)
        await GZipMiddleware(response, minimum_size=SMALL)(scope, receive, send)
