"""A thousand coupled neurons, four excitatory to one inhibitory (Izhikevich 2003, doi:10.1109/TNN.2003.820440).

The coupling is the neuron class's own matrix S. The thalamic noise of the paper is the network's input ``cortex.x``.
"""

from deploy_snn.network import Network
from deploy_snn.neurons import IzhikevichNodes


def build(n: int = 1000, excitatory: float = 0.8, dt: float = 1.0) -> Network:
    """``n`` neurons, of which the first ``excitatory`` part excites the others."""
    network = Network(record=["cortex.v"])
    network.add_layer(IzhikevichNodes(n=n, excitatory=excitatory, thresh=30.0, dt=dt), "cortex", external=True)
    return network
