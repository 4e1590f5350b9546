"""The server as an ASGI application: its life, who may use it, and what its errors look like."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import WebSocketRequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deploy_snn import __version__
from deploy_snn.server import page, routes
from deploy_snn.server.express import SMALL
from deploy_snn.server.gate import Gate, Gated
from deploy_snn.server.refusals import REFUSALS, failure, refusal
from deploy_snn.server.repository import Repository


def create_app(repository: Repository) -> ASGIApp:
    """The server of what has been prepared."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        repository.open()
        yield
        await repository.close()

    app = FastAPI(title="deploy_snn", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.repository = repository
    app.include_router(routes.router)
    app.include_router(page.router)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    for kind in REFUSALS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(WebSocketRequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _not_so)
    return Gated(GZipMiddleware(app, minimum_size=SMALL), Gate(repository.settings.token))


async def metrics(request: Request) -> Response:
    """What Prometheus asks for."""
    return Response(request.app.state.repository.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _refused(asked: Any, error: Exception) -> Any:
    return await _give(asked, refusal(asked.url.path, error))


async def _malformed(asked: Any, error: Any) -> Any:
    """For a query that does not fit its route."""
    told = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
    return await _give(asked, JSONResponse({"error": told}, HTTPStatus.BAD_REQUEST))


async def _give(asked: Request | WebSocket, response: Response) -> Response | None:
    """A response, to what may be a WebSocket: that one must be told before it is accepted."""
    if not isinstance(asked, WebSocket):
        return response
    await asked.send_denial_response(response)
    return None


async def _failed(_: Request, __: Exception) -> Response:
    return failure()


async def _not_so(request: Request, error: Any) -> Response:
    """For a path or a method that there is not."""
    told = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": told}, error.status_code, error.headers)
