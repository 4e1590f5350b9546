"""The two ways in which a user's request fails, each with the exit status that the command line gives for it."""


class InvalidInput(ValueError):
    """An input, a file or an option breaks the contract: the message says what was given, what is expected, the mend."""

    exit_status = 2


class Unavailable(RuntimeError):
    """A runtime or provider that was asked for cannot run on this machine. The message says which library is missing."""

    exit_status = 3
