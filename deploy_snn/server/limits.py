"""The limits of a served model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a model. Times are in seconds."""

    max_batch: int = 64
    max_wait: float = 0.0
    """How long a batch waits for more requests after its first. While a batch runs, the next one fills in any case."""
    max_streams: int = 10_000
    max_state_bytes: int = 2**30
    max_queue: int = 4096
    idle_timeout: float = 600.0
    max_rows: int = 4096
    """Of one request."""
    max_request_bytes: int = 2**28
    """The memory of all tensors of a request: its inputs with their noise, its outputs and its state."""
