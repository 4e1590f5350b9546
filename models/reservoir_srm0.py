"""A liquid state machine: a recurrent LIF reservoir, read out by stochastic SRM0 neurons.

The reservoir follows Maass, Natschlaeger & Markram 2002 (doi:10.1162/089976602760407955): 80 % excitatory and 20 %
inhibitory neurons with sparse connections. The readout neurons are those of Vasilaki et al. 2009
(doi:10.1371/journal.pcbi.1000586).
"""

import torch

from deploy_snn.network import Dense, Network, Sparse
from deploy_snn.neurons import Input, LIFNodes, SRM0Nodes


def build(n: int = 100, n_input: int = 64, n_readout: int = 10, density: float = 0.1, dt: float = 1.0) -> Network:
    """``n_input`` -> ``n`` (recurrent) -> ``n_readout``."""
    network = Network()
    network.add_layer(Input(n=n_input, dt=dt), "X")
    network.add_layer(LIFNodes(n=n, tc_decay=30.0, refrac=2, dt=dt), "reservoir")
    network.add_layer(SRM0Nodes(n=n_readout, dt=dt), "readout")
    sign = torch.where(torch.arange(n) < 0.8 * n, 1.0, -4.0)
    recurrent = (torch.rand(n, n) < density) * torch.rand(n, n) * 3.0 * sign[:, None]
    network.add_connection(Sparse((torch.rand(n_input, n) < density) * torch.rand(n_input, n) * 12.0), "X", "reservoir")
    network.add_connection(Sparse(recurrent), "reservoir", "reservoir")
    network.add_connection(Dense(6.0 * torch.rand(n, n_readout) - 1.0), "reservoir", "readout")
    return network
