"""BindsNET: a layer step by step, and Diehl & Cook's network with ``Network.run``."""

import numpy as np
import torch
from bindsnet_peer import Drawn, Peer, bindsnet_nodes
from networks import bindsnet_network

from deploy_snn.tensors import Array, Arrays

from .rounds import Contender, timed

BINDSNET = "BindsNET"
LAYERS = ("exc", "inh")


def stepped(peer: Peer, tensor: str, steps: int) -> Contender:
    """``layer.forward`` for each step. It may report spikes some steps earlier than ours (``peer.lead``)."""

    @torch.inference_mode()
    def run() -> Arrays:
        peer.begin()
        for k in range(steps):
            peer.step(k)
        return {}

    seconds = timed(run, steps).seconds
    peer.begin()
    spikes = [np.array(peer.step(k)) for k in range(steps)]
    late = [np.zeros_like(spikes[0])] * peer.lead
    return Contender(steps, seconds, {tensor: np.stack([*late, *spikes][:steps])}, exact=False)


def diehl_cook(n: int, w: Array, inputs: Arrays, steps: int) -> Contender:
    """``Network.run``. It draws the winners itself; where spikes are compared, it is given our noise."""
    network = bindsnet_network(n, 1, torch.from_numpy(w))
    spikes = torch.from_numpy(inputs["X.x"][:steps].copy())  # a reset of BindsNET's zeroes the last step of its input

    @torch.inference_mode()
    def run() -> Arrays:
        network.reset_state_variables()
        network.run(inputs={"X": spikes}, time=steps)
        return {}

    seconds = timed(run, steps).seconds
    nodes, drawn = bindsnet_nodes(), Drawn(torch.from_numpy(inputs["exc.noise"]))
    found: dict[str, list[Array]] = {name: [] for name in LAYERS}
    forwards = {name: network.layers[name].forward for name in LAYERS}

    def recorded(name: str, x: torch.Tensor) -> None:
        drawn.step += name == "exc"
        forwards[name](x)
        found[name].append(network.layers[name].s.numpy().copy())

    nodes.torch = drawn
    for name in LAYERS:
        network.layers[name].forward = lambda x, name=name: recorded(name, x)
    try:
        run()
    finally:
        nodes.torch = torch
        for name in LAYERS:
            network.layers[name].forward = forwards[name]
    return Contender(steps, seconds, {f"{name}.s": np.stack(series) for name, series in found.items()}, exact=False)
