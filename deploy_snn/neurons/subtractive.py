"""Integrate-and-fire with reset by subtraction: the neuron of networks converted from artificial neural networks."""

from typing import ClassVar

import torch
from torch import Tensor

from deploy_snn.contract import Rounding, TensorSpec
from deploy_snn.neurons.integrate_and_fire import REFRACTORY, RefractoryNodes, potential


class SubtractiveResetIFNodes(RefractoryNodes):
    """Integrate and fire with reset by subtraction (Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682).

    A spike subtracts ``thresh`` from the potential. No drive is lost, so the firing rate is linear in the drive. State:
    ``v`` (reset), ``refrac_count`` (0), each ``[B, *shape]``. The counter stops at 0 or less than one step below it.

    Equation:
        v = v + where(refrac_count == 0, x, 0)
        refrac_count = where(refrac_count > 0, refrac_count - dt, 0)
        s = v >= thresh
        v = max(where(s, v - thresh, v), lbound)
        refrac_count = where(s, refrac, refrac_count)

    Keywords: those of :class:`RefractoryNodes`. Here, ``reset`` is only the initial potential.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (potential("reset"), REFRACTORY)

    def resting_state(self) -> dict[str, Tensor]:
        return {"v": self.expand(self.reset), "refrac_count": torch.zeros_like(self.expand(self.reset))}

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        return state["v"] + torch.where(state["refrac_count"] == 0, x, 0.0)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v = self.integrate(x, state)
        waiting = state["refrac_count"] > 0
        refrac_count = torch.where(waiting, state["refrac_count"] - self.dt, 0.0)
        s = v >= self.thresh
        after = {
            "v": self.clip(torch.where(s, v - self.thresh, v)),
            "refrac_count": torch.where(s, self.refrac, refrac_count),
        }
        return s, x, after

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state), self.expand(self.thresh)
