"""The errors of requests that break no contract, and the HTTP status of every error that a request can cause."""

from http import HTTPStatus

from fastapi.responses import JSONResponse

from deploy_snn.errors import InvalidInput
from deploy_snn.server.log import log_event


class ServerBusy(Exception):
    """A limit of the server is reached. The same request may succeed later."""


class CheckpointFailed(Exception):
    """Streams could not be stored, so that the request changed nothing. It may succeed later."""


class StepConflict(Exception):
    """A stream is not at the step that the client expects, or already exists."""


class ModelNotFound(Exception):
    """No model of this name is loaded."""


class Forbidden(Exception):
    """The server was started without permission for this."""


class BodyTooLarge(Exception):
    """A body is larger than the server accepts."""


class BodyTimeout(Exception):
    """A body did not arrive in time."""


STATUSES: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    Forbidden: HTTPStatus.FORBIDDEN,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    StepConflict: HTTPStatus.CONFLICT,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    BodyTimeout: HTTPStatus.REQUEST_TIMEOUT,
    ServerBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    CheckpointFailed: HTTPStatus.SERVICE_UNAVAILABLE,
}
REQUEST_ERRORS = tuple(STATUSES)
"""Errors that are the client's to handle. Any other exception is an internal error."""

RESPONSE_HEADERS = {
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"Connection": "close"},  # the rest of the body is not read
    HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
}
MAX_LOGGED = 1000
"""Characters of a text from a client that are logged."""
INTERNAL_ERROR = "internal server error; see the server's log"
"""The details go only to the log."""


def error_response(path: str, error: Exception) -> JSONResponse:
    """Log one of ``REQUEST_ERRORS`` and return its response, in the protocol's form."""
    status = STATUSES[type(error)]
    log_event("request refused", path=path[:MAX_LOGGED], status=int(status), error=str(error)[:MAX_LOGGED])
    # Messages quote what the client sent. JSON strings may contain lone surrogates, which UTF-8 cannot encode.
    message = str(error).encode(errors="backslashreplace").decode()
    return JSONResponse({"error": message}, status, RESPONSE_HEADERS.get(status))


def internal_error_response() -> JSONResponse:
    """The response to a request that failed for a reason of the server's own."""
    return JSONResponse({"error": INTERNAL_ERROR}, HTTPStatus.INTERNAL_SERVER_ERROR)
