"""The neurons that spike by name: a new class is a new file and one line here."""

from deploy_snn.errors import InvalidInput
from deploy_snn.neurons.adaptive import AdaptiveLIFNodes, DiehlAndCookNodes
from deploy_snn.neurons.csrm import CSRMNodes
from deploy_snn.neurons.difference import DifferenceCurrentLIFNodes, DifferenceLIFNodes, Heaviside
from deploy_snn.neurons.integrate_and_fire import IFNodes
from deploy_snn.neurons.izhikevich import IzhikevichNodes
from deploy_snn.neurons.leaky import BoostedLIFNodes, CurrentLIFNodes, LIFNodes
from deploy_snn.neurons.nodes import Nodes
from deploy_snn.neurons.srm0 import SRM0Nodes
from deploy_snn.neurons.stateless import Input, McCullochPitts
from deploy_snn.neurons.subtractive import SubtractiveResetIFNodes

NEURONS: dict[str, type[Nodes]] = {
    "input": Input,
    "mcculloch-pitts": McCullochPitts,
    "if": IFNodes,
    "lif": LIFNodes,
    "boosted-lif": BoostedLIFNodes,
    "current-lif": CurrentLIFNodes,
    "adaptive-lif": AdaptiveLIFNodes,
    "diehl-and-cook": DiehlAndCookNodes,
    "izhikevich": IzhikevichNodes,
    "csrm": CSRMNodes,
    "srm0": SRM0Nodes,
    "subtractive-reset-if": SubtractiveResetIFNodes,
    "heaviside": Heaviside,
    "difference-lif": DifferenceLIFNodes,
    "difference-current-lif": DifferenceCurrentLIFNodes,
}


def find_neuron(name: str) -> tuple[str, type[Nodes]]:
    """A neuron's registered name and class, by that name or the class's (any case). Raises InvalidInput with the names."""
    wanted = name.lower().replace("_", "-")
    for registered, cls in NEURONS.items():
        if wanted in (registered, cls.__name__.lower()):
            return registered, cls
    raise InvalidInput(f"there is no neuron '{name}'; there is {', '.join(NEURONS)}")
