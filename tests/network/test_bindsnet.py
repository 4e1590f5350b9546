"""With weights on a grid, spikes and potentials equal BindsNET 0.3.4's own ``Network.run`` in 500 steps."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from deploy_snn import neurons
from deploy_snn.network import (
    Conv2d,
    Dense,
    Lateral,
    LocalConnection2d,
    MaxPool2d,
    MeanField,
    Network,
    OneToOne,
    Sparse,
    snap_weights,
)
from deploy_snn.network.layer import Layer

from .bindsnet_network import peer, run  # noqa: F401  (a fixture)

STEPS = 500


def build_ours(layers: dict[str, neurons.Nodes], wires: list, *, one_step: bool, snap: bool = True) -> Network:
    record = [f"{name}.v" for name, layer in layers.items() if hasattr(layer, "thresh")] + ["X.s"]
    network = Network(one_step=one_step, record=record)
    for name, layer in layers.items():
        network.add_layer(layer, name)
    for connection, source, target in wires:
        network.add_connection(connection, source, target)
    if snap:
        snap_weights(network.connections, 12)
    return network.finish()


def build_in_bindsnet(peer: ModuleType, network: Network, batch: int, keywords: dict[str, dict]) -> object:  # noqa: F811
    """Build the same network in BindsNET, where OneToOne and Lateral connections are matrices."""
    made = peer.Network(dt=1.0, batch_size=batch)
    made.train(False)
    for name, layer in network.layers.items():
        cls = type(layer.neuron).__name__
        made.add_layer(getattr(peer.nodes, cls)(shape=layer.shape, **keywords.get(name, {})), name)
        made.layers[name].learning = False
    for wire in network.connections:
        ends = made.layers[wire.source], made.layers[wire.target]
        made.add_connection(counterpart(peer.topology, wire, *ends), wire.source, wire.target)
    made.reset_state_variables()
    return made


def counterpart(topology: ModuleType, wire: object, source: object, target: object) -> object:  # noqa: PLR0911
    n = source.n
    match wire:
        case OneToOne():
            return topology.Connection(source, target, w=float(wire.w) * torch.eye(n))
        case Lateral():
            return topology.Connection(source, target, w=float(wire.w) * (1 - torch.eye(n)))
        case Sparse():
            dense = torch.zeros(n, target.n).index_put(
                (wire.sources.T, torch.arange(target.n)), wire.fan_in.T, accumulate=True
            )
            return topology.SparseConnection(source, target, w=dense.to_sparse())
        case MeanField():
            return topology.MeanFieldConnection(source, target, w=wire.w.clone())
        case Conv2d():
            kernel = tuple(wire.w.shape[2:])
            return topology.Conv2dConnection(source, target, kernel, w=wire.w.clone(), b=torch.zeros(wire.w.shape[0]))
        case MaxPool2d():
            return topology.MaxPool2dConnection(
                source, target, wire.kernel_size[0], wire.stride[0], decay=float(wire.decay)
            )
        case LocalConnection2d():
            channels, kernel = source.shape[0], wire.kernel_size
            made = topology.LocalConnection2D(source, target, tuple(kernel), tuple(wire.stride), target.shape[0])
            made.w.data = wire.fan_in.reshape(target.n, channels, -1).permute(1, 0, 2).contiguous()
            return made
        case Dense():
            return topology.Connection(
                source, target, w=wire.w.clone(), **({} if wire.b is None else {"b": wire.b.clone()})
            )
    raise AssertionError(wire)


def feed_forward(*, one_step: bool, snap: bool = True) -> tuple[Network, dict]:
    layers = {
        "X": neurons.Input(n=40),
        "lif": neurons.LIFNodes(n=30, tc_decay=20.0),
        "adaptive": neurons.AdaptiveLIFNodes(n=10, learning=False),
    }
    wires = [
        (Dense(2 * torch.rand(40, 30), torch.rand(30)), "X", "lif"),
        (Dense(6 * torch.rand(30, 10)), "lif", "adaptive"),
    ]
    return build_ours(layers, wires, one_step=one_step, snap=snap), {"lif": {"tc_decay": 20.0}}


def diehl_and_cook(*, one_step: bool, snap: bool = True) -> tuple[Network, dict]:
    inhibitory = {"thresh": -40.0, "rest": -60.0, "reset": -45.0, "refrac": 2, "tc_decay": 10.0}
    layers = {
        "X": neurons.Input(n=60),
        "exc": neurons.DiehlAndCookNodes(n=20, learning=False),
        "inh": neurons.LIFNodes(n=20, **inhibitory),
    }
    wires = [(Dense(1.5 * torch.rand(60, 20)), "X", "exc"), (OneToOne(22.5), "exc", "inh"), (Lateral(-5.0), "inh", "exc")]
    return build_ours(layers, wires, one_step=one_step, snap=snap), {"inh": inhibitory}


def convolutional(*, one_step: bool) -> tuple[Network, dict]:
    layers = {
        "X": neurons.Input(shape=(1, 8, 8)),
        "conv": neurons.LIFNodes(shape=(3, 6, 6), tc_decay=20.0),
        "pool": neurons.IFNodes(shape=(3, 3, 3), thresh=-64.5, refrac=0),
        "local": neurons.IFNodes(shape=(2, 2, 2)),
    }
    wires = [
        (Conv2d(6 * torch.rand(3, 1, 3, 3)), "X", "conv"),
        (MaxPool2d(2, decay=0.25), "conv", "pool"),
        (LocalConnection2d(4 * torch.rand(3, 8, 4), 2, 1), "pool", "local"),
    ]
    keywords = {"conv": {"tc_decay": 20.0}, "pool": {"thresh": -64.5, "refrac": 0}}
    return build_ours(layers, wires, one_step=one_step), keywords


def reservoir(*, one_step: bool) -> tuple[Network, dict]:
    layers = {
        "X": neurons.Input(n=20),
        "pool": neurons.LIFNodes(n=40, refrac=2),
        "mean": neurons.LIFNodes(n=3),
        "out": neurons.SRM0Nodes(n=5),
    }
    recurrent = (torch.rand(40, 40) < 0.2) * (6 * torch.rand(40, 40) - 3)
    wires = [
        (Sparse((torch.rand(20, 40) < 0.3) * 8 * torch.rand(20, 40)), "X", "pool"),
        (Dense(recurrent), "pool", "pool"),
        (MeanField(torch.tensor([40.0, 80.0, 160.0])), "pool", "mean"),
        (Dense(6 * torch.rand(40, 5)), "pool", "out"),
    ]
    return build_ours(layers, wires, one_step=one_step), {"pool": {"refrac": 2}}


def drawn(network: Network, batch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    shape = (STEPS, batch, *network.layers["X"].shape)
    noise = {
        name: torch.rand(STEPS, batch, *layer.shape)
        for name, layer in network.layers.items()
        if isinstance(layer, Layer) and layer.stochastic
    }
    return {"X": (torch.rand(shape) < 0.15).float()}, noise


@pytest.mark.parametrize("one_step", [False, True])
@pytest.mark.parametrize(
    ("build", "batch"),
    [
        (feed_forward, 1),
        (feed_forward, 4),
        (diehl_and_cook, 1),
        (diehl_and_cook, 4),
        (convolutional, 1),
        (convolutional, 4),
        (reservoir, 1),
    ],
)
def test_every_spike_and_potential(build: object, batch: int, one_step: bool, peer: ModuleType) -> None:  # noqa: F811
    torch.manual_seed(3)
    network, keywords = build(one_step=one_step)
    inputs, noise = drawn(network, batch)
    expected = run(build_in_bindsnet(peer, network, batch, keywords), inputs, noise, one_step=one_step)
    given = {"X.x": inputs["X"]} | {f"{name}.noise": values for name, values in noise.items()}
    outputs, _ = network.rollout(given, network.initial_state(batch))
    for name in network.layers:
        fired = outputs[f"{name}.s"].float().mean()
        assert 0 < fired < 0.9, f"{name} fires at {fired}"
        assert torch.equal(outputs[f"{name}.s"], expected[f"{name}.s"]), name
        if f"record.{name}.v" in outputs:
            assert torch.equal(outputs[f"record.{name}.v"], expected[f"{name}.v"]), name


def test_weights_off_the_grid(peer: ModuleType) -> None:  # noqa: F811
    """Without the weight grid, potentials differ by rounding only, until the first spike that differs.

    A matrix product adds in another order than a sum and a subtraction, so a potential near its threshold may differ.
    """
    torch.manual_seed(3)
    network, keywords = diehl_and_cook(one_step=False, snap=False)
    inputs, noise = drawn(network, 1)
    expected = run(build_in_bindsnet(peer, network, 1, keywords), inputs, noise, one_step=False)
    outputs, _ = network.rollout({"X.x": inputs["X"], "exc.noise": noise["exc"]}, network.initial_state(1))
    same = (outputs["exc.s"] == expected["exc.s"]).flatten(1).all(1)
    until = STEPS if same.all() else int(same.int().argmin())
    assert until > 20
    apart = (outputs["record.exc.v"][:until] - expected["exc.v"][:until]).abs().max()
    assert apart < 1e-3
