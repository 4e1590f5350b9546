"""The rule of Diehl & Cook 2015 without presynaptic depression."""

from typing import ClassVar, Unpack

from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.learning.rule import Number, Rates, Rule, RuleOptions


class DiehlAndCook(Rule):
    """A target spike moves the weight by the source's trace above a target value.

    It is the rule of Diehl & Cook 2015, doi:10.3389/fncom.2015.00099.

    ``w + (nu[1] * (x - x_tar) * r) * (wmax - w)``: spikes r of the target, trace x of the source.

    Args:
        x_tar: the value of the source's trace at which a weight does not change.

    Further keywords: those of :class:`Rule`; wmax is required. nu[0] is unused.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"source_trace"})

    x_tar: Tensor

    def __init__(self, nu: Rates = (0.0, 0.0), *, x_tar: Number = 0.0, **options: Unpack[RuleOptions]) -> None:
        super().__init__(nu, **options)
        self.add_number("x_tar", x_tar)
        if not self.wmax.isfinite().all():
            raise InvalidInput("DiehlAndCook needs a finite upper limit: pass wmax=1.0")

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.post:
            met = self.synapses.summed(activity["source_trace"] - self.x_tar, activity["target"])
            w.add_(self.nu[1] * met * (self.wmax - w))
        after: dict[str, Tensor] = {}
        return after
