"""Why a server may refuse a request that breaks no contract, and which HTTP status each refusal has."""

from http import HTTPStatus

from deploy_snn.errors import InvalidInput


class Busy(Exception):
    """There is no room for a request now; after a while there may be."""


class Elsewhere(Exception):
    """A stream is not at the step at which its client believes it to be."""


class NotFound(Exception):
    """There is no such model."""


class TooLarge(Exception):
    """A body is larger than the server takes."""


STATUSES: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Elsewhere: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}
REFUSALS = tuple(STATUSES)
