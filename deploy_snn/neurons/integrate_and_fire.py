"""Integrate-and-fire, and the base classes of neurons with a membrane potential, a reset and a refractory period."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Kind, Role, Rounding, TensorSpec
from deploy_snn.neurons.nodes import Nodes, NodesOptions, Number

REFRACTORY = TensorSpec(name="refrac_count", role=Role.STATE, kind=Kind.COUNTER, initial="0", unit="ms")


def potential(initial: str) -> TensorSpec:
    """The record of a membrane potential ``v`` that starts at ``initial``."""
    return TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL, initial=initial, unit="mV")


class MembraneNodes(Nodes):
    """A membrane potential with an optional lower bound."""

    lbound: Tensor | None

    def add_lbound(self, lbound: Number | None) -> None:
        """Register the lower bound as a buffer; None for no bound."""
        if lbound is None:
            self.register_buffer("lbound", None)
        else:
            self.add_parameter("lbound", lbound)

    def clip(self, v: Tensor) -> Tensor:
        lbound = self.lbound
        if lbound is not None:
            v = torch.where(v < lbound, lbound, v)
        return v


class RefractoryOptions(NodesOptions, total=False):
    """The keywords of every class with a refractory membrane."""

    thresh: Number
    reset: Number
    refrac: Number
    lbound: Number | None


class RefractoryNodes(MembraneNodes):
    """A membrane with a reset and a refractory period, during which it ignores its input.

    Args:
        thresh: threshold, in mV. reset: potential after a spike, in mV. refrac: refractory period, in ms.
        lbound: lower bound of the potential, in mV, or None.
    """

    thresh: Tensor
    reset: Tensor
    refrac: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        thresh: Number = -52.0,
        reset: Number = -65.0,
        refrac: Number = 5,
        lbound: Number | None = None,
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("thresh", thresh)
        self.add_parameter("reset", reset)
        self.add_parameter("refrac", refrac)
        self.add_lbound(lbound)

    def fire(self, s: Tensor, v: Tensor, refrac_count: Tensor) -> dict[str, Tensor]:
        """Reset the potential of the neurons that spiked and start their refractory period. Apply the lower bound."""
        return {
            "v": self.clip(torch.where(s, self.reset, v)),
            "refrac_count": torch.where(s, self.refrac, refrac_count),
        }


class IFNodes(RefractoryNodes):
    """Integrate and fire, without leak (Lapicque 1907). State: ``v`` (reset), ``refrac_count`` (0), each ``[B, *shape]``.

    Equation:
        v = v + where(refrac_count <= 0, x, 0)
        refrac_count = refrac_count - dt
        s = v >= thresh
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)

    Keywords: those of :class:`RefractoryNodes`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (potential("reset"), REFRACTORY)

    def resting_state(self) -> dict[str, Tensor]:
        return {"v": self.expand(self.reset), "refrac_count": torch.zeros_like(self.expand(self.reset))}

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        return state["v"] + torch.where(state["refrac_count"] <= 0, x, 0.0)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v = self.integrate(x, state)
        refrac_count = state["refrac_count"] - self.dt
        s = v >= self.thresh
        return s, x, self.fire(s, v, refrac_count)

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state), self.expand(self.thresh)
