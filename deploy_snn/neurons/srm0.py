"""SRM0: a leaky membrane that fires at random, with a probability that grows with the potential."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Kind, Operation, Role, Rounding, TensorSpec
from deploy_snn.neurons.leaky import LeakyNodes
from deploy_snn.neurons.nodes import NodesOptions, Number

PROBABILITY = TensorSpec(name="probability", role=Role.STATE, kind=Kind.OTHER, initial="0")
"""The spike probability of the last step, for learning rules that read it."""


class SRM0Options(NodesOptions, total=False):
    """The keywords of SRM0 whose defaults are those of the base classes."""

    refrac: Number
    lbound: Number | None


class SRM0Nodes(LeakyNodes):
    """Simplified spike response model with escape noise (Vasilaki et al. 2009, doi:10.1371/journal.pcbi.1000586).

    It spikes with probability ``p = 1 - exp(-rho * dt)``, ``rho = rho_0 * exp((v - thresh) / d_thresh)``. The step has an
    input ``noise``, and spikes where ``noise < p``. State: ``v`` (rest), ``refrac_count`` (0), each ``[B, *shape]``.

    Equation:
        v = exp(-dt / tc_decay) * (v - rest) + rest + where(refrac_count <= 0, eps_0 * x, 0)
        refrac_count = refrac_count - dt
        rho = rho_0 * exp((v - thresh) / d_thresh)
        s = noise < 1 - exp(-rho * dt)
        v = max(where(s, reset, v), lbound)
        refrac_count = where(s, refrac, refrac_count)

    Args:
        thresh: potential at which rho is rho_0, in mV. rest: resting potential, in mV.
        reset: potential after a spike, in mV. tc_decay: membrane time constant, in ms.
        eps_0: factor on the drive. rho_0: firing rate at the threshold, in 1/ms.
        d_thresh: width of the threshold, in mV.
        probability: keep the probability of the step as the state ``probability``, for a learning rule that reads it.

    Further keywords: those of :class:`LeakyNodes`.
    """

    __constants__: ClassVar[list[str]] = [*LeakyNodes.__constants__, "probability"]
    ROUNDING: ClassVar[tuple[Rounding, ...]] = (Rounding(tensor="s", operation=Operation.EXP),)

    eps_0: Tensor
    rho_0: Tensor
    d_thresh: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        thresh: Number = -50.0,
        rest: Number = -70.0,
        reset: Number = -70.0,
        tc_decay: Number = 10.0,
        eps_0: Number = 1.0,
        rho_0: Number = 1.0,
        d_thresh: Number = 5.0,
        probability: bool = False,
        **options: Unpack[SRM0Options],
    ) -> None:
        super().__init__(n, shape, thresh=thresh, rest=rest, reset=reset, tc_decay=tc_decay, **options)
        self.stochastic = True
        self.add_parameter("eps_0", eps_0)
        self.add_parameter("rho_0", rho_0)
        self.add_parameter("d_thresh", d_thresh)
        self.probability = bool(probability)

    def own_states(self) -> tuple[TensorSpec, ...]:
        return (*self.STATES, PROBABILITY) if self.probability else self.STATES

    def resting_state(self) -> dict[str, Tensor]:
        # TorchScript cannot call the method of the base class.
        state = {"v": self.expand(self.rest), "refrac_count": torch.zeros_like(self.expand(self.rest))}
        if self.probability:
            state["probability"] = torch.zeros_like(self.expand(self.rest))
        return state

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The potential, and the probability of a spike."""
        v = self.leak(state["v"]) + torch.where(state["refrac_count"] <= 0, self.eps_0 * x, 0.0)
        rho = self.rho_0 * torch.exp((v - self.thresh) / self.d_thresh)
        return v, 1 - torch.exp(-rho * self.dt)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        assert noise is not None  # TorchScript needs this to refine the type
        v, p = self.integrate(x, state)
        refrac_count = state["refrac_count"] - self.dt
        s = noise < p
        after = self.fire(s, v, refrac_count)
        if self.probability:
            after["probability"] = p
        return s, x, after

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert noise is not None
        return self.integrate(x, state)[1], noise
