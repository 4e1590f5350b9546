"""Unsupervised digit recognition: input, excitatory and inhibitory layer (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099).

Every input neuron excites all excitatory neurons. Each excitatory neuron excites its inhibitory partner, which inhibits all
other excitatory neurons. By default the weights are random, as before training.
"""

import torch
from torch import Tensor

from deploy_snn.network import Dense, Lateral, Network, OneToOne
from deploy_snn.neurons import DiehlAndCookNodes, Input, LIFNodes


def build(
    n: int = 100, n_input: int = 784, dt: float = 1.0, w: Tensor | None = None, theta: Tensor | None = None
) -> Network:
    """``n_input`` -> ``n`` <-> ``n``. ``w`` ``[n_input, n]`` and ``theta`` ``[n]`` are trained values, if any."""
    exc = DiehlAndCookNodes(
        n=n, thresh=-52.0, rest=-65.0, reset=-60.0, refrac=5, tc_decay=100.0, theta_plus=0.05, learning=False, dt=dt
    )
    if theta is not None:
        exc.theta = theta.to(torch.float32)
    inh = LIFNodes(n=n, thresh=-40.0, rest=-60.0, reset=-45.0, refrac=2, tc_decay=10.0, dt=dt)
    network = Network()
    network.add_layer(Input(n=n_input, dt=dt), "X")
    network.add_layer(exc, "exc")
    network.add_layer(inh, "inh")
    # The columns sum to 78.4 in the paper, where the input is 784.
    drawn = torch.rand(n_input, n) if w is None else w
    network.add_connection(Dense(drawn * (0.1 * n_input / drawn.sum(0))), "X", "exc")
    network.add_connection(OneToOne(22.5), "exc", "inh")
    network.add_connection(Lateral(-17.5), "inh", "exc")
    return network
