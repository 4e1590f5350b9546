"""Hebbian learning with traces."""

from typing import ClassVar

from torch import Tensor

from deploy_snn.learning.rule import Rule


class Hebbian(Rule):
    """Both a source spike and a target spike raise the weight, by the trace of the other end.

    ``w + s * (nu[0] * y)``, then ``w + x * (nu[1] * r)``: spikes s and r, traces x and y of source and target. Arguments:
    those of :class:`Rule`.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"source_trace", "target_trace"})

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.synapses.add(w, activity["source"], activity["target_trace"], self.nu[0], 1.0)
        self.synapses.add(w, activity["source_trace"], activity["target"], self.nu[1], 1.0)
        after: dict[str, Tensor] = {}
        return after
