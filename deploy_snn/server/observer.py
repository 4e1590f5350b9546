"""Observers, which are notified of every batch: the metrics and the live monitor."""

from typing import NamedTuple, Protocol

from deploy_snn.contract import Contract
from deploy_snn.server.log import LOGGER
from deploy_snn.server.names import SequenceId
from deploy_snn.tensors import Arrays


class CompletedRequest(NamedTuple):
    """A request that has been stepped. ``steps`` is the length of its chunk, or None for a step without a time axis."""

    sequence: SequenceId | None
    batch: int
    steps: int | None
    total_steps: int
    """How many steps the stream has taken, these included."""
    outputs: Arrays


class Observer(Protocol):
    """Is notified of every batch."""

    def on_batch(self, model: str, contract: Contract, requests: list[CompletedRequest]) -> None:
        """Called with the requests that were stepped together."""


def notify(observers: tuple[Observer, ...], model: str, contract: Contract, requests: list[CompletedRequest]) -> None:
    """Notify all observers. An observer that fails is logged, and does not affect the streams."""
    for observer in observers:
        try:
            observer.on_batch(model, contract, requests)
        except Exception:  # noqa: BLE001
            LOGGER.exception("observer failed", extra={"fields": {"model": model}})
