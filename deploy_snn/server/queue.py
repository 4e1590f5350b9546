"""The queue of a model's pending requests, and which of them are stepped together."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from deploy_snn.server.log import LOGGER
from deploy_snn.server.names import SequenceId
from deploy_snn.server.protocol import InferRequest
from deploy_snn.tensors import Arrays


class InferResult(NamedTuple):
    """The outputs of a request, and the number of steps that its stream has taken, these included."""

    outputs: Arrays
    steps: int


Answer = Callable[[InferResult | Exception], None]
"""Called once with the result of a request, or with its error."""


@dataclass(eq=False)
class PendingRequest:
    """A request whose inputs conform to the contract, and the function that receives its result."""

    request: InferRequest
    batch: int
    steps: int | None
    """The length of its chunk; None for a single step, whose tensors have no time axis."""
    on_answer: Answer
    parts: list[Arrays] = field(default_factory=list)
    """The outputs of the steps that a long chunk has taken so far."""
    taken: int = 0
    """How many steps these are."""
    token: str = ""
    """The fencing token for a stream that starts with this request, if servers share a store."""
    answered: bool = False

    def answer(self, result: InferResult | Exception) -> None:
        """Pass the result or the error to ``on_answer``, at most once."""
        if self.answered:
            return
        self.answered = True
        try:
            self.on_answer(result)
        except Exception:  # noqa: BLE001  (the other requests of the batch go on)
            LOGGER.exception("answer failed", extra={"fields": {"sequence": self.request.sequence}})


class RequestQueue:
    """Pending requests in the order of their arrival."""

    def __init__(self) -> None:
        self._pending: deque[PendingRequest] = deque()
        self.not_empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, pending: PendingRequest) -> None:
        """Append a request."""
        self._pending.append(pending)
        self.not_empty.set()

    def sequences(self) -> set[SequenceId | None]:
        """The streams that have a request in the queue."""
        return {pending.request.sequence for pending in self._pending}

    def take_batch(self, max_batch: int, *, single: bool, busy: Iterable[SequenceId] = ()) -> list[PendingRequest]:
        """Remove and return the requests to step together: the oldest, and others with chunks of the same length.

        At most one request per stream, its first, and at most ``max_batch`` rows, unless the oldest request alone has more.
        With ``single``, only the oldest. None of the ``busy`` streams.
        """
        batch: list[PendingRequest] = []
        rows, seen, remaining = 0, set[SequenceId](busy), deque[PendingRequest]()
        for pending in self._pending:
            sequence = pending.request.sequence
            fits = not batch or (not single and pending.steps == batch[0].steps and rows + pending.batch <= max_batch)
            if fits and sequence not in seen:
                batch.append(pending)
                rows += pending.batch
            else:
                remaining.append(pending)
            if sequence is not None:
                seen.add(sequence)  # later requests of this stream must not overtake this one
        self._pending = remaining
        if not remaining:
            self.not_empty.clear()
        return batch
