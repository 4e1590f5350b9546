"""LIF with a threshold that grows with every spike, and its winner-take-all form."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import NEURONS, Kind, Role, Rounding, TensorSpec
from deploy_snn.neurons.integrate_and_fire import REFRACTORY, potential
from deploy_snn.neurons.leaky import LeakyNodes, LeakyOptions
from deploy_snn.neurons.nodes import Number

THETA = TensorSpec(name="theta", role=Role.STATE, kind=Kind.THRESHOLD, axes=(NEURONS,), initial="theta", unit="mV")
"""How far the threshold has grown: one value a neuron, which all rows of a batch share."""


class AdaptiveLIFNodes(LeakyNodes):
    """LIF with an adaptive threshold ``thresh + theta`` (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099).

    State: ``v`` (rest), ``refrac_count`` (0), each ``[B, *shape]``; while learning also ``theta`` ``[*shape]``, which
    starts from the buffer ``theta``. Not learning, that buffer is a parameter and does not change.

    Args:
        theta_plus: what a spike adds to theta, in mV. tc_theta_decay: time constant of theta's decay, in ms.

    Further keywords: those of :class:`LeakyNodes`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (potential("rest"), THETA, REFRACTORY)

    theta: Tensor
    theta_plus: Tensor
    tc_theta_decay: Tensor
    theta_decay: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        theta_plus: Number = 0.05,
        tc_theta_decay: Number = 1e7,
        **options: Unpack[LeakyOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("theta_plus", theta_plus)
        self.add_decay("tc_theta_decay", tc_theta_decay, "theta_decay")
        self.register_buffer("theta", torch.zeros(self.shape, dtype=torch.float32))
        self.shared_state = "theta"

    def own_states(self) -> tuple[TensorSpec, ...]:
        return self.STATES if self.learning else tuple(spec for spec in self.STATES if spec != THETA)

    def resting_state(self) -> dict[str, Tensor]:
        state = {"v": self.expand(self.rest), "refrac_count": torch.zeros_like(self.expand(self.rest))}
        if self.learning:
            state["theta"] = self.expand(self.theta)
        return state

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        theta = state["theta"] * self.theta_decay if self.learning else self.theta
        return self.leak(state["v"]) + torch.where(state["refrac_count"] <= 0, x, 0.0), theta

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return self.adapt(x, state)

    def adapt(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, theta = self.integrate(x, state)
        refrac_count = state["refrac_count"] - self.dt
        s = v >= self.thresh + theta
        after = self.fire(s, v, refrac_count)
        if self.learning:
            after["theta"] = theta + self.theta_plus * s.to(torch.float32).sum(0)
        return s, x, after

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v, theta = self.integrate(x, state)
        return v, self.expand(self.thresh + theta)


class AdaptiveOptions(LeakyOptions, total=False):
    """The keywords that every class with an adaptive threshold takes."""

    theta_plus: Number
    tc_theta_decay: Number


class DiehlAndCookNodes(AdaptiveLIFNodes):
    """AdaptiveLIF of which, with ``one_spike``, one spike a step survives in each batch row, drawn uniformly.

    The draw is an input: among a row's spikes the one with the largest ``noise`` survives. Refractory period, reset
    and theta apply to all that crossed (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099). State: as AdaptiveLIF.

    Args:
        one_spike: winner-take-all; the step then takes ``noise`` ``[B, *shape]``, uniform on [0, 1).

    Further keywords: those of :class:`AdaptiveLIFNodes`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    __constants__: ClassVar[list[str]] = [*AdaptiveLIFNodes.__constants__, "one_spike"]

    index: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        one_spike: bool = True,
        **options: Unpack[AdaptiveOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.one_spike = bool(one_spike)
        self.stochastic = self.one_spike
        self.register_buffer("index", torch.arange(self.n), persistent=False)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        s, entered, after = self.adapt(x, state)
        if self.one_spike:
            assert noise is not None  # the type refinement that TorchScript needs
            s = self.survivor(s, noise)
        return s, entered, after

    def survivor(self, s: Tensor, noise: Tensor) -> Tensor:
        """Of each row's spikes the one with the largest noise; of several with the same, the first."""
        tickets = torch.where(s, noise, -1.0)
        if len(self.shape) == 1:
            return s & (self.index == tickets.argmax(1, keepdim=True))
        drawn = self.index == tickets.reshape([-1, self.n]).argmax(1, keepdim=True)
        return s & drawn.reshape([-1] + list(self.shape))
