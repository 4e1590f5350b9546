"""Who may use a server: whoever has its token, and no web page but its own."""

from collections.abc import Mapping
from hmac import compare_digest
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

HARMLESS = ("GET", "HEAD", "OPTIONS")
PAGE = "/"
"""The page that asks for the token itself: it shows nothing without."""
SOCKET = ""
"""In place of a method, for a WebSocket."""


class Gate:
    """Says who may not pass.

    A page of another site could make its visitor's browser send requests to a server on this machine. Browsers say in
    ``Origin`` whose page it was: it has to be the server's own, but where nothing is changed and nothing can be read.
    """

    def __init__(self, token: str | None) -> None:
        """``token`` is the bearer token that everybody must carry, or None."""
        self.expected = f"Bearer {token}".encode() if token else None

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> JSONResponse | None:
        """What one is told who may not, or None. The headers' names are in lower case."""
        if self.expected and path != PAGE and not compare_digest(headers.get("authorization", "").encode(), self.expected):
            told = {"error": "this server wants its bearer token: Authorization: Bearer ..."}
            return JSONResponse(told, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")
        if origin and method not in HARMLESS and origin.partition("://")[2] != headers.get("host"):
            return JSONResponse({"error": "a page of another site has sent this"}, HTTPStatus.FORBIDDEN)
        return None


class Gated:
    """An application behind a gate: all its requests, and all its WebSockets."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self.gate.refusal(scope.get("method", SOCKET), scope["path"], Headers(scope=scope))
            if refusal:
                await refusal(scope, receive, send)  # to a WebSocket, too, before it is one
                return
        await self.app(scope, receive, send)
