"""Statistics of a model's requests, as Triton's ``/stats`` has them."""

from dataclasses import dataclass
from time import time
from typing import Any


@dataclass
class Statistics:
    """Counts of one model. Times are in nanoseconds, ``last`` in milliseconds since 1970."""

    succeeded: int = 0
    succeeded_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    rows: int = 0
    batches: int = 0
    last: int = 0

    def add_request(self, seconds: float, *, answered: bool) -> None:
        """Count a request."""
        if answered:
            self.succeeded, self.succeeded_ns = self.succeeded + 1, self.succeeded_ns + int(seconds * 1e9)
        else:
            self.failed, self.failed_ns = self.failed + 1, self.failed_ns + int(seconds * 1e9)

    def add_batch(self, rows: int) -> None:
        """Count a batch."""
        self.rows, self.batches, self.last = self.rows + rows, self.batches + 1, int(time() * 1000)

    def describe(self, name: str, version: str) -> dict[str, Any]:
        """The entry of ``model_stats``."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last,
            "inference_count": self.rows,
            "execution_count": self.batches,
            "inference_stats": {
                "success": {"count": self.succeeded, "ns": self.succeeded_ns},
                "fail": {"count": self.failed, "ns": self.failed_ns},
            },
        }
