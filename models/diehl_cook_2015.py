"""Unsupervised digit recognition: input, excitatory and inhibitory layer (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099).

Every input neuron excites all excitatory neurons. Each excitatory neuron excites its inhibitory partner, which inhibits all
other excitatory neurons. By default the weights are random, as before training. With ``plastic`` the network learns: STDP
changes the weights from the input, thresholds adapt, and one excitatory neuron at most spikes in a step.
"""

import torch
from torch import Tensor

from deploy_snn.learning import PostPre
from deploy_snn.network import Dense, Lateral, Network, OneToOne
from deploy_snn.neurons import DiehlAndCookNodes, Input, LIFNodes


def build(
    n: int = 100,
    n_input: int = 784,
    dt: float = 1.0,
    w: Tensor | None = None,
    theta: Tensor | None = None,
    *,
    plastic: bool = False,
) -> Network:
    """``n_input`` -> ``n`` <-> ``n``. ``w`` ``[n_input, n]`` and ``theta`` ``[n]`` are trained values, if any.

    ``plastic``: learn with the rule and the rates of BindsNET's DiehlAndCook2015. A host normalises the weights at the end
    of each sample, such as ``run --normalise-every``.
    """
    exc = DiehlAndCookNodes(
        n=n,
        thresh=-52.0,
        rest=-65.0,
        reset=-60.0,
        refrac=5,
        tc_decay=100.0,
        theta_plus=0.05,
        learning=plastic,
        traces=plastic,
        dt=dt,
    )
    if theta is not None:
        exc.theta = theta.to(torch.float32)
    inh = LIFNodes(n=n, thresh=-40.0, rest=-60.0, reset=-45.0, refrac=2, tc_decay=10.0, dt=dt)
    network = Network()
    network.add_layer(Input(n=n_input, traces=plastic, dt=dt), "X")
    network.add_layer(exc, "exc")
    network.add_layer(inh, "inh")
    # The columns sum to 78.4 in the paper, where the input is 784.
    total = 0.1 * n_input
    rule = PostPre(nu=(1e-4, 1e-2), wmin=0.0, wmax=1.0, norm=total) if plastic else None
    drawn = torch.rand(n_input, n) if w is None else w
    network.add_connection(Dense(drawn * (total / drawn.sum(0)), rule=rule), "X", "exc")
    network.add_connection(OneToOne(22.5), "exc", "inh")
    network.add_connection(Lateral(-17.5), "inh", "exc")
    return network
