"""Cumulative spike response neurons with a window of past drives (Gerstner & van Hemmen 1992).

doi:10.1088/0954-898X_3_2_004. The window of past drives is a state of the network.
"""

import torch

from deploy_snn.network import Dense, Lateral, Network
from deploy_snn.neurons import CSRMNodes, Input


def build(n: int = 20, n_input: int = 64, dt: float = 1.0) -> Network:
    """``n_input`` -> ``n``, with lateral inhibition."""
    network = Network()
    network.add_layer(Input(n=n_input, dt=dt), "X")
    network.add_layer(CSRMNodes(n=n, responseKernel="AlphaKernel", tau=4, learning=False, tc_decay=50.0, dt=dt), "csrm")
    network.add_connection(Dense(0.8 * torch.rand(n_input, n)), "X", "csrm")
    network.add_connection(Lateral(-1.0), "csrm", "csrm")
    return network
