"""Why a server may refuse a request that breaks no contract, and which HTTP status each refusal has."""

from http import HTTPStatus

from fastapi.responses import JSONResponse

from deploy_snn.errors import InvalidInput
from deploy_snn.server.log import tell


class Busy(Exception):
    """There is no room for a request now; after a while there may be."""


class Elsewhere(Exception):
    """A stream is not at the step at which its client believes it to be."""


class NotFound(Exception):
    """There is no such model."""


class TooLarge(Exception):
    """A body is larger than the server takes."""


class TooSlow(Exception):
    """A body takes longer to come than the server waits."""


STATUSES: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Elsewhere: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}
REFUSALS = tuple(STATUSES)
HEADERS = {
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"Connection": "close"},  # the rest of the body is not read
    HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
}


def refusal(path: str, error: Exception) -> JSONResponse:
    """What a client is told that is refused, in the protocol's form."""
    status = STATUSES[type(error)]
    tell("refused", path=path, status=int(status), error=str(error))
    # What a client sent comes back in the sentence: JSON may hold halves of characters, which no UTF-8 can.
    told = str(error).encode(errors="backslashreplace").decode()
    return JSONResponse({"error": told}, status, HEADERS.get(status))


def failure() -> JSONResponse:
    """Of its own mistakes a server tells only its log."""
    return JSONResponse({"error": "the server failed; its log says why"}, HTTPStatus.INTERNAL_SERVER_ERROR)
