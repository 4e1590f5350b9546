"""Infer requests, from body to response: an ASGI short cut past the web framework, which takes longer than a step."""

import gzip
import re

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy_snn.server.body import read_body
from deploy_snn.server.errors import error_response
from deploy_snn.server.large import run_sized
from deploy_snn.server.protocol import HEADER_LENGTH, InferRequest, parse_request, render_response
from deploy_snn.server.queue import InferResult
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.server.schema import OCTET_STREAM

PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
MIN_GZIP_BYTES = 1000
"""Smaller responses are not compressed."""


class InferShortcut:
    """Answers all infer requests; passes everything else on to an application."""

    def __init__(self, app: ASGIApp, repository: Repository) -> None:
        self.app, self.repository = app, repository

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if not match:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await infer(self.repository, request, match[1], match[2] or VERSION)
        except Exception as error:  # noqa: BLE001  (the connection stays open)
            response = error_response(scope["path"], error)
        await response(scope, receive, send)


async def infer(repository: Repository, request: Request, name: str, version: str) -> Response:
    """Read and parse an infer request, step the model and render the response.

    Raises what ``read_body``, ``parse_request`` and ``Model.infer`` raise.
    """
    model = repository.find(name, version)
    with repository.request(name, "http", request.headers) as take:
        body = await read_body(request, repository.settings.body, take)
        parsed = await run_sized(len(body), parse_request, body, request.headers.get(HEADER_LENGTH))
        result = await model.infer(parsed)
        return await finish(name, parsed, result, accepts_gzip="gzip" in request.headers.get("accept-encoding", ""))


async def finish(name: str, request: InferRequest, result: InferResult, *, accepts_gzip: bool) -> Response:
    """The response to an infer request: of a large one, in a thread."""
    size = sum(array.nbytes for array in result.outputs.values())
    rendered, length = await run_sized(size, render_response, name, request, result.outputs, result.steps)
    headers = {} if length is None else {HEADER_LENGTH: str(length)}
    if accepts_gzip and len(rendered) >= MIN_GZIP_BYTES:
        rendered = await run_sized(len(rendered), gzip.compress, rendered, 6)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(rendered, media_type="application/json" if length is None else OCTET_STREAM, headers=headers)
