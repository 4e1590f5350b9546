"""Requests that wait, and which of them are stepped together."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from deploy_snn.server.protocol import InferRequest, Sequence
from deploy_snn.tensors import Arrays


@dataclass(frozen=True)
class Answer:
    """What a request gets: its outputs, and how many steps its stream has taken with it."""

    outputs: Arrays
    steps: int


@dataclass
class Waiting:
    """A request whose inputs fit the contract."""

    request: InferRequest
    inputs: Arrays
    batch: int
    steps: int | None
    """How many steps its chunk holds; None for a single step, whose tensors have no time axis."""
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: Exception) -> None:
        """Tell the client, if it is still there."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Queue:
    """First come, first served, but for what can be stepped together."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self.news = asyncio.Event()
        """Set while somebody waits."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting) -> None:
        """Stand at the end."""
        self._waiting.append(waiting)
        self.news.set()

    def sequences(self) -> set[Sequence | None]:
        """The streams that have a request here."""
        return {waiting.request.sequence for waiting in self._waiting}

    def take(self, max_batch: int, *, alone: bool) -> list[Waiting]:
        """The requests to step together: one a stream, its first, and all of the same length as the oldest.

        At most ``max_batch`` rows, unless the oldest alone has more; and ``alone``, only that one.
        """
        taken: list[Waiting] = []
        rows, seen, left = 0, set[Sequence](), deque[Waiting]()
        for waiting in self._waiting:
            sequence = waiting.request.sequence
            room = not taken or (not alone and waiting.steps == taken[0].steps and rows + waiting.batch <= max_batch)
            if room and sequence not in seen:
                taken.append(waiting)
                rows += waiting.batch
            else:
                left.append(waiting)
            if sequence is not None:
                seen.add(sequence)  # what comes later in this stream must not overtake
        self._waiting = left
        if not left:
            self.news.clear()
        return taken
