"""A neuron class by its name."""

from deploy_snn.errors import InvalidInput
from deploy_snn.neurons.nodes import Nodes
from deploy_snn.registry import NEURONS


def find_neuron(name: str) -> tuple[str, type[Nodes]]:
    """A neuron's registered name and class, by that name or the class's (any case). Raises InvalidInput with the names."""
    wanted = name.lower().replace("_", "-")
    for registered, entry in NEURONS.entries.items():
        if wanted in (registered, entry.attribute.lower()):
            return registered, NEURONS[registered]
    raise InvalidInput(f"unknown neuron '{name}'; choose from {', '.join(NEURONS)}")
