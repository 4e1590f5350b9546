"""Find a neuron class by name."""

from deploy_snn.neurons.nodes import Nodes
from deploy_snn.registry import NEURONS, unknown


def find_neuron(name: str) -> tuple[str, type[Nodes]]:
    """Return the registered name and the class for either of the two names, in any case.

    Raises InvalidInput, with the known names, for an unknown name.
    """
    normalized = name.lower().replace("_", "-")
    for registered, entry in NEURONS.entries.items():
        if normalized in (registered, entry.attribute.lower()):
            return registered, NEURONS[registered]
    raise unknown("neuron", normalized, NEURONS)
