"""Learning rules: how the weights of a connection follow the spikes at its two ends.

A class in the registry can be imported from here; those that are written out are known to type checkers too.
"""

from typing import TYPE_CHECKING, Any

from deploy_snn.learning.diehl_and_cook import DiehlAndCook
from deploy_snn.learning.hebbian import Hebbian
from deploy_snn.learning.mstdp import MSTDP
from deploy_snn.learning.mstdpet import MSTDPET
from deploy_snn.learning.post_pre import PostPre
from deploy_snn.learning.rmax import Rmax
from deploy_snn.learning.rule import Rule, RuleOptions
from deploy_snn.learning.weight_dependent import WeightDependentPostPre
from deploy_snn.registry import RULES

__all__ = [
    "MSTDP",
    "MSTDPET",
    "DiehlAndCook",
    "Hebbian",
    "PostPre",
    "Rmax",
    "Rule",
    "RuleOptions",
    "WeightDependentPostPre",
]


def _registered(name: str) -> Any:
    """A class that only the registry names."""
    found = RULES.by_attribute(name)
    if found is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return found


if not TYPE_CHECKING:  # type checkers are to see the names above only
    __getattr__ = _registered
