"""LIF with an adaptive threshold, and its winner-take-all variant."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import NEURONS, Kind, Role, Rounding, TensorSpec
from deploy_snn.neurons.integrate_and_fire import REFRACTORY, potential
from deploy_snn.neurons.leaky import LeakyNodes, LeakyOptions
from deploy_snn.neurons.nodes import Number

THETA = TensorSpec(name="theta", role=Role.STATE, kind=Kind.THRESHOLD, axes=(NEURONS,), initial="theta", unit="mV")
"""The growth of the threshold: one value per neuron, shared by all rows of a batch."""


class AdaptiveLIFNodes(LeakyNodes):
    """LIF with an adaptive threshold ``thresh + theta`` (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099).

    State: ``v`` (rest), ``refrac_count`` (0), each ``[B, *shape]``. With ``learning=True`` also ``theta`` ``[*shape]``,
    which starts from the buffer ``theta``. With ``learning=False`` that buffer is a constant parameter.

    Equation:
        theta = exp(-dt / tc_theta_decay) * theta
        v = exp(-dt / tc_decay) * (v - rest) + rest + where(refrac_count <= 0, x, 0)
        refrac_count = refrac_count - dt
        s = v >= thresh + theta
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)
        theta = theta + theta_plus * s

    Args:
        theta_plus: increase of theta per spike, in mV. tc_theta_decay: time constant of theta's decay, in ms.

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
    """The keywords of every class with an adaptive threshold."""

    theta_plus: Number
    tc_theta_decay: Number


class DiehlAndCookNodes(AdaptiveLIFNodes):
    """AdaptiveLIF with winner-take-all: with ``one_spike``, one random spike per step and batch row is kept.

    The randomness is an input: of the spikes in a row, the one with the largest ``noise`` is kept. Refractory period, reset
    and theta still apply to all neurons that reached the threshold (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099).
    State: that of :class:`AdaptiveLIFNodes`.

    Equation:
        theta = exp(-dt / tc_theta_decay) * theta
        v = exp(-dt / tc_decay) * (v - rest) + rest + where(refrac_count <= 0, x, 0)
        refrac_count = refrac_count - dt
        s = v >= thresh + theta
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)
        theta = theta + theta_plus * s
        s = s & (noise == max(where(s, noise, -1)))

    Args:
        one_spike: winner-take-all. The step then has an input ``noise`` ``[B, *shape]``, uniform on [0, 1).

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
            assert noise is not None  # TorchScript needs this to refine the type
            s = self.winner(s, noise)
        return s, entered, after

    def winner(self, s: Tensor, noise: Tensor) -> Tensor:
        """Keep the spike with the largest noise in each row; in a tie, the first."""
        spike_noise = torch.where(s, noise, -1.0)
        if len(self.shape) == 1:
            return s & (self.index == spike_noise.argmax(1, keepdim=True))
        is_winner = self.index == spike_noise.reshape([-1, self.n]).argmax(1, keepdim=True)
        return s & is_winner.reshape([-1] + list(self.shape))
