"""Where the streams of a model are kept beside its server's memory, so that they outlive it."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from deploy_snn.bundle import Bundle
from deploy_snn.server.journal import Journal
from deploy_snn.server.log import log_event
from deploy_snn.server.names import SequenceId
from deploy_snn.server.stream import Stream
from deploy_snn.tensors import Arrays

NO_INPUTS: Final[Mapping[SequenceId, Arrays]] = {}


class Store(ABC):
    """The streams of one model. ``problem`` is the reason for which the last access failed, or None."""

    problem: str | None = None

    def load(self) -> dict[SequenceId, Stream]:
        """Read every stream as of its last acknowledged step, when the model is loaded."""
        return {}

    @abstractmethod
    def write(
        self,
        streams: Mapping[SequenceId, Stream],
        ended: Mapping[SequenceId, Stream],
        inputs: Mapping[SequenceId, Arrays] = NO_INPUTS,
    ) -> Collection[SequenceId]:
        """Store streams and delete those that have ended. Raises StoreFailed.

        ``inputs`` are those of the request that led to a stream. A store may keep them, in a journal, in place of the
        stream. Returns the names of the streams that another server has taken over, which are left as they are.
        """

    @abstractmethod
    def settle(self, streams: Mapping[SequenceId, Stream]) -> None:
        """Store whole the streams that have a journal, before the server ends: the next one need not replay it.

        Raises StoreFailed.
        """

    @abstractmethod
    def retry(self) -> None:
        """Find out whether a problem is over, without a stream to store."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the store holds open."""

    def _report(self, problem: str | None) -> None:
        """Record a problem, or its end, and log it if it is news."""
        if problem != self.problem:
            level = logging.WARNING if problem else logging.INFO
            log_event("store failing" if problem else "store recovered", level, problem=problem)
        self.problem = problem


@dataclass(frozen=True)
class Claim:
    """The streams that a server has taken over, or still holds, as of their last acknowledged step."""

    token: str
    """The fencing token of the claim. A write is refused once another claim has replaced it."""
    streams: dict[SequenceId, Stream]


class SharedStore(Store):
    """A store that several servers use at once. The last to claim a stream holds it; the others' writes are refused."""

    @abstractmethod
    def claim(
        self,
        held: Mapping[SequenceId, Stream | None],
        starting: Collection[SequenceId],
        creating: Collection[SequenceId] = (),
    ) -> Claim:
        """Claim streams before they are stepped. Raises StoreFailed.

        ``held`` names streams, each with the copy that this server has in memory, which need not be read again if no other
        server has claimed the stream since. Streams that do not exist are missing from the claim. ``starting`` names
        streams that start anew: their earlier holders' writes are refused from now on. ``creating`` names streams that
        start if there is none of their name: one that exists is claimed as if it were held.
        """

    @abstractmethod
    def read(self, sequence: SequenceId) -> Stream | None:
        """A stream as of its last acknowledged step, without a claim; None for an unknown one. Raises StoreFailed."""

    @abstractmethod
    def add(self, sequence: SequenceId, stream: Stream) -> bool:
        """Store a new stream; returns False, and changes nothing, if there is one of this name. Raises StoreFailed."""


OpenStore = Callable[[str, Bundle, Journal], Store]
"""Opens the store of a model, given its name, its bundle and its journal. Raises InvalidInput for an unusable store."""


def identify(bundle: Bundle) -> str:
    """The hashes of a bundle's files, as text: the streams of one export are of no use to another."""
    return json.dumps({file: record.sha256 for file, record in sorted(bundle.manifest.files.items())})
