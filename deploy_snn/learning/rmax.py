"""Reward maximisation for neurons with escape noise."""

from typing import ClassVar, Unpack

from torch import Tensor

from deploy_snn.contract import TensorSpec
from deploy_snn.learning.mstdpet import eligibility
from deploy_snn.learning.rule import Number, Rates, Rule, RuleOptions


class Rmax(Rule):
    """Reward maximisation for targets that spike at random (Vasilaki et al. 2009, doi:10.1371/journal.pcbi.1000586).

    ``e * (1 - dt / tc_e_trace) + (r - p / (1 + (tc_c / dt) * p)) * x``, then ``w + sum over the batch of
    (nu[0] * reward * e)``: spikes r of the target and their probability p, trace x of the source. The target is
    ``SRM0Nodes(probability=True)``, the source's trace is additive. The network has an input ``reward`` ``[B]``. State:
    ``eligibility`` ``[B, *w]``, e.

    Args:
        tc_c: time constant of the balance between naive Hebbian and policy gradient learning, in ms.
        tc_e_trace: time constant of the eligibility trace, in ms.

    Further keywords: those of :class:`Rule`. nu[1] is unused.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"source_trace", "reward", "probability"})

    tc_c: Tensor
    tc_e_trace: Tensor
    eligibility_kept: Tensor
    balance: Tensor

    def __init__(
        self,
        nu: Rates = (0.0, 0.0),
        *,
        tc_c: Number = 5.0,
        tc_e_trace: Number = 25.0,
        **options: Unpack[RuleOptions],
    ) -> None:
        super().__init__(nu, **options)
        self.add_number("tc_c", tc_c, positive=True)
        self.add_number("tc_e_trace", tc_e_trace, positive=True)

    def set_step(self, dt: float) -> None:
        self.register_buffer("eligibility_kept", 1 - dt / self.tc_e_trace)
        self.register_buffer("balance", self.tc_c / dt)

    def states(self) -> tuple[TensorSpec, ...]:
        return (eligibility(self.weights_shape),)

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        p = activity["probability"]
        surprise = activity["target"] - p / (1.0 + self.balance * p)
        e = state["eligibility"] * self.eligibility_kept + self.synapses.products(activity["source_trace"], surprise)
        reward = activity["reward"].reshape([-1] + [1] * len(self.weights_shape))
        w.add_((self.nu[0] * reward * e).sum(0))
        return {"eligibility": e}
