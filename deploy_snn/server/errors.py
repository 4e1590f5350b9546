"""The errors of requests that break no contract, and the HTTP status of every error that a request can cause."""

from dataclasses import dataclass
from http import HTTPStatus

from fastapi.responses import JSONResponse

from deploy_snn.errors import InvalidInput
from deploy_snn.server.log import LOGGER


class ServerBusy(Exception):
    """A limit of the server is reached. The same request may succeed later."""


class StoreFailed(Exception):
    """Streams could not be stored or read, so that the request changed nothing here. It may succeed later."""


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
    StoreFailed: HTTPStatus.SERVICE_UNAVAILABLE,
}
RESPONSE_HEADERS = {
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"Connection": "close"},  # the rest of the body is not read
    HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
}
MAX_LOGGED = 1000
"""Characters of a text from a client that are logged."""
INTERNAL_ERROR = "internal server error; see the server's log"
"""The details go only to the log."""


def status_of(error: Exception) -> HTTPStatus:
    """The HTTP status of an error: 500 for one that is the server's own."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


@dataclass(frozen=True)
class Explanation:
    """What a client is told about an error, over every protocol."""

    status: HTTPStatus
    message: str


def explain(error: Exception, **where: object) -> Explanation:
    """Log an error and return what to tell the client. ``where`` are further fields of the log event.

    Errors that are not in ``STATUSES`` are the server's own: they are logged with their traceback.
    """
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        LOGGER.error("request failed", exc_info=error, extra={"fields": where})
        return Explanation(status, INTERNAL_ERROR)
    fields = where | {"status": int(status), "error": str(error)[:MAX_LOGGED]}
    LOGGER.info("request refused", extra={"fields": fields})
    # Messages quote what the client sent, which may contain lone surrogates, which UTF-8 cannot encode.
    return Explanation(status, str(error).encode(errors="backslashreplace").decode())


def error_response(path: str, error: Exception) -> JSONResponse:
    """The HTTP response to a request that failed, in the protocol's form."""
    explained = explain(error, path=path[:MAX_LOGGED])
    return JSONResponse({"error": explained.message}, explained.status, RESPONSE_HEADERS.get(explained.status))
