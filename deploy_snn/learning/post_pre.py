"""Spike-timing-dependent plasticity with traces."""

from typing import ClassVar

from torch import Tensor

from deploy_snn.learning.rule import Rule


class PostPre(Rule):
    """STDP: a source spike lowers the weight by the target's trace, a target spike raises it by the source's trace.

    ``w - s * (nu[0] * y)``, then ``w + x * (nu[1] * r)``: spikes s and r, traces x and y of source and target. Arguments:
    those of :class:`Rule`. The traces follow Morrison et al. 2008, doi:10.1007/s00422-008-0233-1.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"source_trace", "target_trace"})

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.pre:
            self.synapses.add(w, activity["source"], activity["target_trace"], self.nu[0], -1.0)
        if self.post:
            self.synapses.add(w, activity["source_trace"], activity["target"], self.nu[1], 1.0)
        after: dict[str, Tensor] = {}
        return after
