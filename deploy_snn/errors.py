"""The two errors that a user can cause, each with its exit status on the command line."""


class InvalidInput(ValueError):
    """An input, a file or an argument is invalid. The message says what was given, what is expected, and how to fix it."""

    exit_status = 2


class Unavailable(RuntimeError):
    """A requested runtime, provider or tool is missing on this machine. The message says what to install."""

    exit_status = 3


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if it has no text."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
