"""Why a server may refuse a request that breaks no contract."""


class Busy(Exception):
    """There is no room for a request now; after a while there may be."""


class Elsewhere(Exception):
    """A stream is not at the step at which its client believes it to be."""


class NotFound(Exception):
    """There is no such model."""


class TooLarge(Exception):
    """A body is larger than the server takes."""
