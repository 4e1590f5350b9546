"""Authorisation: a bearer token, and no requests from web pages of other sites."""

from collections.abc import Mapping
from hmac import compare_digest
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PAGE = "/"
"""The live page needs no token: it contains no data, and asks its user for the token."""
WEBSOCKET = ""
"""The method of a WebSocket, which has none."""


class AuthPolicy:
    """Decides which requests are authorised.

    A web page of another site can make its visitor's browser send requests to a server on the visitor's machine (CSRF).
    Browsers name the page's site in the ``Origin`` header. It must be this server's own, except for safe methods: they
    change nothing, and the page cannot read the response.
    """

    def __init__(self, token: str | None) -> None:
        """``token`` is the bearer token that every request must carry, or None."""
        self.expected = f"Bearer {token}".encode() if token else None

    def error_response(self, method: str, path: str, headers: Mapping[str, str]) -> JSONResponse | None:
        """Return an error response if the request is not authorised, else None. The names of headers are in lower case."""
        if self.expected and path != PAGE and not compare_digest(headers.get("authorization", "").encode(), self.expected):
            message = {"error": "a bearer token is required: send the header 'Authorization: Bearer TOKEN'"}
            return JSONResponse(message, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")
        if origin and method not in SAFE_METHODS and origin.partition("://")[2] != headers.get("host"):
            return JSONResponse({"error": "cross-origin requests are not allowed"}, HTTPStatus.FORBIDDEN)
        return None


class AuthMiddleware:
    """Applies an authorisation policy to all requests and WebSockets of an application."""

    def __init__(self, app: ASGIApp, policy: AuthPolicy) -> None:
        self.app, self.policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            method = scope.get("method", WEBSOCKET)
            response = self.policy.error_response(method, scope["path"], Headers(scope=scope))
            if response:
                await response(scope, receive, send)  # for a WebSocket, this denies the handshake
                return
        await self.app(scope, receive, send)
