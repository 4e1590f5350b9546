"""STDP that is modulated by a reward, with an eligibility trace."""

from typing import Unpack

from torch import Tensor

from deploy_snn.contract import BATCH, Axis, Kind, Role, TensorSpec
from deploy_snn.learning.mstdp import Reinforced
from deploy_snn.learning.rule import Number, Rates, RuleOptions


class MSTDPET(Reinforced):
    """STDP modulated by a reward, with an eligibility trace (Florian 2007, doi:10.1162/neco.2007.19.6.1468).

    ``z * exp(-dt / tc_e_trace) + eligibility / tc_e_trace``, then ``w + sum over the batch of (nu[0] * dt * reward * z)``.
    The network has an input ``reward`` ``[B]``. State: that of :class:`Reinforced`, and ``eligibility`` ``[B, *w]``, z.

    Args:
        tc_e_trace: time constant of the eligibility trace, in ms.

    Further keywords: those of :class:`Reinforced`.
    """

    tc_e_trace: Tensor
    eligibility_decay: Tensor
    rate: Tensor

    def __init__(
        self,
        nu: Rates = (0.0, 0.0),
        *,
        tc_plus: Number = 20.0,
        tc_minus: Number = 20.0,
        tc_e_trace: Number = 25.0,
        a_plus: Number = 1.0,
        a_minus: Number = -1.0,
        zero_lag: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        super().__init__(
            nu, tc_plus=tc_plus, tc_minus=tc_minus, a_plus=a_plus, a_minus=a_minus, zero_lag=zero_lag, **options
        )
        self.add_number("tc_e_trace", tc_e_trace, positive=True)

    def set_step(self, dt: float) -> None:
        super().set_step(dt)
        self.add_decay("tc_e_trace", "eligibility_decay", dt)
        self.register_buffer("rate", self.nu[0] * dt)

    def states(self) -> tuple[TensorSpec, ...]:
        return (*super().states(), eligibility(self.weights_shape))

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        raising, lowering, after = self.pair(activity, state)
        z = state["eligibility"] * self.eligibility_decay + (raising + lowering) / self.tc_e_trace
        w.add_((self.rate * self.by_row(activity["reward"]) * z).sum(0))
        after["eligibility"] = z
        return after


def eligibility(weights: list[int]) -> TensorSpec:
    """The record of an eligibility trace: one for each row and weight."""
    axes = (BATCH, *(Axis(name=f"weight{i}", size=size) for i, size in enumerate(weights)))
    return TensorSpec(name="eligibility", role=Role.STATE, kind=Kind.ELIGIBILITY, axes=axes, initial="0")
