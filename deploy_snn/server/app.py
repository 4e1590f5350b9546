"""The ASGI application: start and shutdown, authorisation, and the form of error responses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import WebSocketRequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deploy_snn import __version__
from deploy_snn.server import page, routes
from deploy_snn.server.auth import AuthMiddleware, AuthPolicy
from deploy_snn.server.errors import STATUSES, error_response
from deploy_snn.server.infer import InferShortcut
from deploy_snn.server.repository import Repository


def create_app(repository: Repository) -> ASGIApp:
    """Create the application that serves the models of a prepared repository."""

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
    for kind in STATUSES:
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(Exception, _on_error)
    app.add_exception_handler(WebSocketRequestValidationError, _on_invalid_query)
    app.add_exception_handler(HTTPException, _on_http_error)
    return AuthMiddleware(InferShortcut(app, repository), AuthPolicy(repository.settings.token, repository.settings.hosts))


async def metrics(request: Request) -> Response:
    """The metrics, in Prometheus' text format."""
    return Response(request.app.state.repository.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _on_error(connection: Any, error: Exception) -> Any:
    return await _respond(connection, error_response(connection.url.path, error))


async def _on_invalid_query(connection: Any, error: Any) -> Any:
    """For a WebSocket whose query does not fit its route."""
    message = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
    return await _respond(connection, JSONResponse({"error": message}, HTTPStatus.BAD_REQUEST))


async def _respond(connection: Request | WebSocket, response: Response) -> Response | None:
    """Return the response to a request; send it to a WebSocket, which is refused before it is accepted."""
    if not isinstance(connection, WebSocket):
        return response
    await connection.send_denial_response(response)
    return None


async def _on_http_error(request: Request, error: Any) -> Response:
    """For an unknown path, or a method that a path does not support."""
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": message}, error.status_code, error.headers)
