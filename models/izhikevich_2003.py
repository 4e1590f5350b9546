"""A thousand coupled neurons, 80 % excitatory and 20 % inhibitory (Izhikevich 2003, doi:10.1109/TNN.2003.820440).

The neurons are coupled by the matrix S of the neuron class. The thalamic noise of the paper is the input ``cortex.x``.
"""

from deploy_snn.network import Network
from deploy_snn.neurons import IzhikevichNodes


def build(n: int = 1000, excitatory: float = 0.8, dt: float = 1.0) -> Network:
    """``n`` neurons. ``excitatory`` is the fraction of excitatory neurons, which come first."""
    network = Network(record=["cortex.v"])
    network.add_layer(IzhikevichNodes(n=n, excitatory=excitatory, thresh=30.0, dt=dt), "cortex", external=True)
    return network
