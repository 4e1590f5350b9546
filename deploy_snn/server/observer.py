"""Who is told of every batch: what is counted, and what is watched."""

from dataclasses import dataclass
from typing import Protocol

from deploy_snn.contract import Contract
from deploy_snn.server.log import LOGGER
from deploy_snn.server.protocol import Sequence
from deploy_snn.tensors import Arrays


@dataclass(frozen=True)
class Step:
    """What was taken for one request: ``steps`` of them, or one, without a time axis, for None."""

    sequence: Sequence | None
    batch: int
    steps: int | None
    taken: int
    """How many its stream has taken with them."""
    outputs: Arrays


class Observer(Protocol):
    """One who is told of every batch."""

    def stepped(self, model: str, contract: Contract, steps: list[Step]) -> None:
        """What was stepped together."""


def report(observers: tuple[Observer, ...], model: str, contract: Contract, steps: list[Step]) -> None:
    """Tell all of them. Their troubles are not the streams'."""
    for observer in observers:
        try:
            observer.stepped(model, contract, steps)
        except Exception:  # noqa: BLE001
            LOGGER.exception("observer failed", extra={"fields": {"model": model}})
