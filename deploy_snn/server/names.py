"""The names of streams: an integer, or a text of at most 256 bytes."""

import json

from deploy_snn.errors import InvalidInput

SequenceId = int | str
"""The name of a stream."""
MAX_NAME_BYTES = 256


def parse_sequence(value: object) -> SequenceId | None:
    """Check a ``sequence_id``. As in Triton, 0 and the empty string mean that the request has no sequence."""
    if type(value) is not int and not isinstance(value, str):
        raise InvalidInput(f"sequence_id: expected a whole number or a string, not {type(value).__name__}")
    if isinstance(value, int) and not 0 <= value < 2**64:
        raise InvalidInput(f"sequence_id {str(value)[:40]}: expected 0 to 2**64 - 1")
    if isinstance(value, str):
        check_name(value, "sequence_id")
    return value or None


def check_name(value: str, what: str) -> None:
    """Raise InvalidInput for a name of more than ``MAX_NAME_BYTES`` bytes of UTF-8, or with a lone surrogate."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{what}: expected valid Unicode") from None
    if size > MAX_NAME_BYTES:
        raise InvalidInput(f"{what} has {size} bytes; at most {MAX_NAME_BYTES} are allowed")


def sequence_in_path(text: str) -> SequenceId:
    """Parse a sequence's name in a path or query: 7 is an integer, "7" in quotes a string; other text is a string too.

    Raises InvalidInput for 0 and the empty string.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    name = parse_sequence(value if type(value) in (int, str) else text)
    if name is None:
        raise InvalidInput("a sequence in a path or query cannot be 0 or empty")
    return name
