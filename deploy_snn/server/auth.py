"""Authorisation: a bearer token, an allow-list of hosts, and no requests from web pages of other sites."""

import socket
from collections.abc import Collection, Mapping
from hmac import compare_digest
from http import HTTPStatus
from ipaddress import ip_address

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/", "/v2/health/live", "/v2/health/ready", "/metrics")
"""These need no token: the live page contains no data and asks its user for the token; probes and Prometheus have none."""
WEBSOCKET = ""
"""The method of a WebSocket, which has none."""


ANY_HOST = "*"
"""Among the allowed hosts, this allows all names."""


class AuthPolicy:
    """Decides which requests are authorised.

    A web page of another site can make its visitor's browser send requests to a server on the visitor's machine (CSRF).
    Browsers name the page's site in the ``Origin`` header. It must be this server's own, except for safe methods: they
    change nothing, and the page cannot read the response.

    A site can also give its own name the address of the visitor's machine (DNS rebinding). ``Origin`` and ``Host`` are then
    both the site's name. The name in ``Host`` must therefore be one of this server's: an IP address, ``localhost``, the
    machine's own name, or one of ``hosts``.
    """

    def __init__(self, token: str | None, hosts: Collection[str] = ()) -> None:
        """``token`` is the bearer token that every request must carry, or None; ``hosts`` are more names of this server."""
        self.expected = f"Bearer {token}".encode() if token else None
        self.hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    def error_response(self, method: str, path: str, headers: Mapping[str, str]) -> JSONResponse | None:
        """Return an error response if the request is not authorised, else None. The names of headers are in lower case."""
        host = headers.get("host")
        if host and not self._is_known(host):  # HTTP/1.0 needs no host; browsers always send it
            message = f"this server is not known as {host[:80]}: start it with --allowed-host NAME"
            return JSONResponse({"error": message}, HTTPStatus.FORBIDDEN)
        given = headers.get("authorization", "").encode()
        if self.expected and path not in OPEN_PATHS and not compare_digest(given, self.expected):
            message = "a bearer token is required: send the header 'Authorization: Bearer TOKEN'"
            return JSONResponse({"error": message}, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")
        if origin and method not in SAFE_METHODS and origin.partition("://")[2] != host:
            return JSONResponse({"error": "cross-origin requests are not allowed"}, HTTPStatus.FORBIDDEN)
        return None

    def _is_known(self, host: str) -> bool:
        """Whether a ``Host`` header, a name or an address with or without a port, means this server."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.lower().removesuffix(".")
        if name in self.hosts or ANY_HOST in self.hosts:
            return True
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


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
