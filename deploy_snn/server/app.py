"""The server as an ASGI application: its life, who may use it, and what its errors look like."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hmac import compare_digest
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from deploy_snn import __version__
from deploy_snn.errors import InvalidInput
from deploy_snn.server.refusals import Busy, Elsewhere, NotFound, TooLarge
from deploy_snn.server.repository import Repository, Settings
from deploy_snn.server.routes import router

STATUSES: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Elsewhere: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}
SMALL = 1000
"""Bytes below which an answer is not worth packing."""


def create_app(settings: Settings) -> FastAPI:
    """The server. Raises InvalidInput for bundles, or kept streams, that cannot be served."""
    repository = Repository(settings)
    repository.prepare()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        repository.open()
        yield
        await repository.close()

    app = FastAPI(title="deploy_snn", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.repository = repository
    app.include_router(router)
    app.add_api_route("/metrics", metrics)
    app.add_middleware(GZipMiddleware, minimum_size=SMALL)
    for kind, status in STATUSES.items():
        app.add_exception_handler(kind, _told(status))
    app.add_exception_handler(404, _nothing_there)
    if settings.token:
        app.middleware("http")(_only_with(f"Bearer {settings.token}"))
    return app


async def metrics(request: Request) -> Response:
    """What Prometheus asks for."""
    return Response(request.app.state.repository.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _told(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler that gives an error's sentence in the protocol's form."""

    async def handle(_: Request, error: Exception) -> Response:
        retry = {"Retry-After": "1"} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
        known = status is not HTTPStatus.INTERNAL_SERVER_ERROR  # of its own mistakes a server tells only its log
        return JSONResponse({"error": str(error) if known else "the server failed; its log says why"}, status, retry)

    return handle


async def _nothing_there(request: Request, _: Exception) -> Response:
    return JSONResponse({"error": f"there is nothing at {request.url.path}"}, HTTPStatus.NOT_FOUND)


def _only_with(
    token: str,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def check(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        if compare_digest(request.headers.get("authorization", "").encode(), token.encode()):
            return await proceed(request)
        told = {"error": "this server wants its bearer token: Authorization: Bearer ..."}
        return JSONResponse(told, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})

    return check
