"""STDP whose changes shrink towards the limits of the weights."""

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.learning.rule import Rates, Rule, RuleOptions


class WeightDependentPostPre(Rule):
    """STDP with soft limits: a change is in proportion to the distance of the weight from the limit ahead.

    ``w + (-(nu[0] * s * y) * (w - wmin) + (nu[1] * x * r) * (wmax - w))``: spikes s and r, traces x and y of source and
    target. Arguments: those of :class:`Rule`; wmin and wmax are required.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"source_trace", "target_trace"})

    def __init__(self, nu: Rates = (0.0, 0.0), **options: Unpack[RuleOptions]) -> None:
        super().__init__(nu, **options)
        if not (self.wmin.isfinite().all() and self.wmax.isfinite().all()):
            raise InvalidInput("WeightDependentPostPre needs finite limits: pass wmin=0.0, wmax=1.0")

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        change = torch.zeros_like(w)
        if self.pre:
            met = self.synapses.summed(activity["source"], activity["target_trace"])
            change = change - self.nu[0] * met * (w - self.wmin)
        if self.post:
            met = self.synapses.summed(activity["source_trace"], activity["target"])
            change = change + self.nu[1] * met * (self.wmax - w)
        w.add_(change)
        after: dict[str, Tensor] = {}
        return after
