"""Leaky integrate-and-fire: the plain neuron, one with rest and reset at 0, and one with a synaptic current."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Kind, Role, Rounding, TensorSpec
from deploy_snn.neurons.integrate_and_fire import REFRACTORY, RefractoryNodes, RefractoryOptions, potential
from deploy_snn.neurons.nodes import Nodes, NodesOptions, Number


class LeakyOptions(RefractoryOptions, total=False):
    """The keywords of every leaky class."""

    rest: Number
    tc_decay: Number


class LeakyNodes(RefractoryNodes):
    """A refractory membrane whose potential leaks towards ``rest``.

    Args:
        rest: resting potential, in mV. tc_decay: membrane time constant, in ms.

    Further keywords: those of :class:`RefractoryNodes`.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = (potential("rest"), REFRACTORY)

    rest: Tensor
    tc_decay: Tensor
    decay: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        rest: Number = -65.0,
        tc_decay: Number = 100.0,
        **options: Unpack[RefractoryOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("rest", rest)
        self.add_decay("tc_decay", tc_decay, "decay")

    def resting_state(self) -> dict[str, Tensor]:
        return {"v": self.expand(self.rest), "refrac_count": torch.zeros_like(self.expand(self.rest))}

    def leak(self, v: Tensor) -> Tensor:
        return self.decay * (v - self.rest) + self.rest


class LIFNodes(LeakyNodes):
    """Leaky integrate-and-fire (Gerstner & Kistler 2002). State: ``v`` (rest), ``refrac_count`` (0), each ``[B, *shape]``.

    Equation:
        v = exp(-dt / tc_decay) * (v - rest) + rest + where(refrac_count > 0, 0, x)
        refrac_count = refrac_count - dt
        s = v >= thresh
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)

    Keywords: those of :class:`LeakyNodes`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        x = torch.where(state["refrac_count"] > 0, 0.0, x)
        return self.leak(state["v"]) + x, x

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, entered = self.integrate(x, state)
        refrac_count = state["refrac_count"] - self.dt
        s = v >= self.thresh
        return s, entered, self.fire(s, v, refrac_count)

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state)[0], self.expand(self.thresh)


class BoostedLIFNodes(Nodes):
    """LIF with rest and reset at 0. It can step without a drive: ``neuron(None, state)``.

    State: ``v`` (0), ``refrac_count`` (0), each ``[B, *shape]``.

    Equation:
        v = exp(-dt / tc_decay) * v + where(refrac_count > 0, 0, x)
        refrac_count = refrac_count - dt
        s = v >= thresh
        v = where(s, 0, v)
        refrac_count = where(s, refrac, refrac_count)

    Args:
        thresh: threshold, in mV above rest. refrac: refractory period, in ms. tc_decay: membrane time constant, in ms.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (
        TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL, initial="0", unit="mV"),
        REFRACTORY,
    )

    thresh: Tensor
    refrac: Tensor
    tc_decay: Tensor
    decay: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        thresh: Number = 13.0,
        refrac: Number = 5,
        tc_decay: Number = 100.0,
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.steps_without_input = True
        self.add_parameter("thresh", thresh)
        self.add_parameter("refrac", refrac)
        self.add_decay("tc_decay", tc_decay, "decay")

    def resting_state(self) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.expand(self.dt))
        return {"v": zero, "refrac_count": zero}

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        x = torch.where(state["refrac_count"] > 0, 0.0, x)
        return state["v"] * self.decay + x, x

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, entered = self.integrate(x, state)
        refrac_count = state["refrac_count"] - self.dt
        s = v >= self.thresh
        return s, entered, {"v": torch.where(s, 0.0, v), "refrac_count": torch.where(s, self.refrac, refrac_count)}

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state)[0], self.expand(self.thresh)


class CurrentLIFNodes(LeakyNodes):
    """LIF with a decaying synaptic current (Gerstner & Kistler 2002).

    State: ``v`` (rest), ``i`` (0), ``refrac_count`` (0), each ``[B, *shape]``. The refractory counter is decremented before
    the current is added to the potential, so the refractory period is one step shorter than that of LIF.

    Equation:
        refrac_count = refrac_count - dt
        i = exp(-dt / tc_i_decay) * i + x
        v = exp(-dt / tc_decay) * (v - rest) + rest + where(refrac_count <= 0, i, 0)
        s = v >= thresh
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)

    Args:
        tc_i_decay: time constant of the current, in ms.

    Further keywords: those of :class:`LeakyNodes`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (
        potential("rest"),
        TensorSpec(name="i", role=Role.STATE, kind=Kind.CURRENT, initial="0", unit="mV"),
        REFRACTORY,
    )

    tc_i_decay: Tensor
    i_decay: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        tc_i_decay: Number = 2.0,
        **options: Unpack[LeakyOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_decay("tc_i_decay", tc_i_decay, "i_decay")

    def resting_state(self) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.expand(self.rest))
        return {"v": self.expand(self.rest), "i": zero, "refrac_count": zero}

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        refrac_count = state["refrac_count"] - self.dt
        i = state["i"] * self.i_decay + x
        return self.leak(state["v"]) + torch.where(refrac_count <= 0, i, 0.0), i, refrac_count

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, i, refrac_count = self.integrate(x, state)
        s = v >= self.thresh
        after = self.fire(s, v, refrac_count)
        after["i"] = i
        return s, x, after

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state)[0], self.expand(self.thresh)
