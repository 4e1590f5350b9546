"""Who may use a server: whoever has its token, and no web page but its own."""

from hmac import compare_digest
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

HARMLESS = ("GET", "HEAD", "OPTIONS")
PAGE = "/"
"""The page that asks for the token itself: it shows nothing without."""


class Gate:
    """Stands before every request and every WebSocket, and lets through those that may pass.

    Args:
        app: what stands behind it. token: the bearer token that everybody must carry, or None.

    A page of another site could make its visitor's browser send requests to a server on this machine. Browsers say in
    ``Origin`` whose page it was: it has to be the server's own, but where nothing is changed and nothing can be read.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope, Headers(scope=scope))
            if refusal:
                await refusal(scope, receive, send)  # to a WebSocket, too, before it is one
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if (
            self.expected
            and scope["path"] != PAGE
            and not compare_digest(headers.get("authorization", "").encode(), self.expected)
        ):
            told = {"error": "this server wants its bearer token: Authorization: Bearer ..."}
            return JSONResponse(told, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")
        harmless = scope["type"] == "http" and scope["method"] in HARMLESS
        if origin and not harmless and origin.partition("://")[2] != headers.get("host"):
            return JSONResponse({"error": "a page of another site has sent this"}, HTTPStatus.FORBIDDEN)
        return None
