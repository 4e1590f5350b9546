"""Build networks with BindsNET itself, and run its own ``Network.run`` with given noise. None of its code is copied."""

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from ..neurons.bindsnet_oracle import TorchWithDraws  # noqa: TID252  (tests are no package that is installed)

BITS = 12
Noise = dict[str, Tensor]


def part(name: str) -> ModuleType:
    """Import a module of BindsNET, while the fixture ``peer`` is active."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"bindsnet.{name}")


def snap(network: object) -> object:
    """Round every weight to a multiple of 2**-BITS, so that sums have the same bits in every order."""
    for connection in network.connections.values():
        holders = [(connection, "w"), (connection, "b"), *((f, "value") for f in getattr(connection, "pipeline", []))]
        for holder, name in holders:
            value = getattr(holder, name, None)
            if isinstance(value, Tensor) and value.is_floating_point():
                numbers = value.data._values() if value.is_sparse else value.data
                numbers.copy_(torch.round(numbers * 2.0**BITS) / 2.0**BITS)
    return network


@contextmanager
def drawing(network: object, noise: Noise) -> Iterator[None]:
    """Patch BindsNET's random draws: in each step, each layer draws the values that its given noise implies."""
    module = sys.modules["bindsnet.network.nodes"]
    real, module.torch = module.torch, TorchWithDraws()
    try:
        for name, values in noise.items():
            network.layers[name].forward = _in_turn(module.torch, network.layers[name], iter(values))
        yield
    finally:
        module.torch = real


def _in_turn(draws: TorchWithDraws, layer: object, noise: Iterator[Tensor]) -> Callable[..., None]:
    forward = layer.forward

    def step(x: Tensor) -> None:
        draws.layer, draws.noise = layer, next(noise)
        forward(x)

    return step


def run(network: object, inputs: dict[str, Tensor], noise: Noise, *, one_step: bool = False) -> dict[str, Tensor]:
    """Run all steps in one ``Network.run``. Return the spikes ``NAME.s`` and the potentials ``NAME.v`` of each step."""
    monitors = part("network.monitors")
    seen = {}
    for name, layer in network.layers.items():
        wanted = [
            variable for variable in ("s", "v") if hasattr(layer, variable) and variable in dict(layer.named_buffers())
        ]
        seen[name] = monitors.Monitor(layer, wanted)
        network.add_monitor(seen[name], f"watch {name}")
    batch = next(iter(inputs.values())).shape[1]
    if network.batch_size != batch:
        network.batch_size = batch
        for layer in network.layers.values():
            layer.set_batch_size(batch)
    network.reset_state_variables()  # sets the batch size of the pooling connections
    steps = len(next(iter(inputs.values())))
    with drawing(network, noise):
        network.run({name: values.clone() for name, values in inputs.items()}, time=steps * network.dt, one_step=one_step)
    return {
        f"{name}.{variable}": monitor.get(variable) for name, monitor in seen.items() for variable in monitor.state_vars
    }


def two_layers() -> object:
    return part("models").TwoLayerNetwork(64, 20, norm=30.0)


def diehl_and_cook(**options: object) -> object:
    network = part("models").DiehlAndCook2015(64, n_neurons=20, **options)
    network.layers["Ae"].theta.copy_(4 * torch.rand(20))
    network.connections["X", "Ae"].pipeline[0].value.mul_(4)
    return network


def diehl_and_cook_v2() -> object:
    network = part("models").DiehlAndCook2015v2(64, n_neurons=20)
    network.connections["X", "Y"].w.mul_(4)
    return network


def increasing_inhibition() -> object:
    network = part("models").IncreasingInhibitionNetwork(64, n_neurons=16)
    network.connections["X", "Y"].w.mul_(4)
    network.connections["Y", "Y"].w.neg_()
    return network


def locally_connected() -> object:
    network = part("models").LocallyConnectedNetwork(36, (6, 6), 2, 2, 3)
    network.connections["X", "Y"].w.mul_(10)
    network.connections["X", "Y"].b.fill_(0.125)
    return network


def converted() -> object:
    ann = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(27, 5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 4),
    )
    return part("conversion").ann_to_snn(ann, (1, 8, 8), data=torch.rand(20, 1, 8, 8))


def reservoir() -> object:
    network, nodes, topology = part("network").Network(dt=0.5), part("network.nodes"), part("network.topology")
    layers = {
        "X": nodes.Input(n=20),
        "pool": nodes.LIFNodes(n=40, refrac=2, tc_decay=30.0, lbound=-70.0),
        "mean": nodes.LIFNodes(n=3),
        "out": nodes.SRM0Nodes(n=5),
    }
    for name, layer in layers.items():
        network.add_layer(layer, name)
    X, pool, mean, out = layers.values()
    recurrent = (torch.rand(40, 40) < 0.2) * (6 * torch.rand(40, 40) - 3)
    few = (torch.rand(20, 40) < 0.3) * 8 * torch.rand(20, 40)
    network.add_connection(topology.SparseConnection(X, pool, w=few, b=torch.rand(40) / 8), "X", "pool")
    network.add_connection(topology.Connection(pool, pool, w=recurrent), "pool", "pool")
    network.add_connection(topology.MeanFieldConnection(pool, mean, w=torch.tensor([[40.0, 80.0, 160.0]])), "pool", "mean")
    network.add_connection(topology.Connection(pool, out, w=6 * torch.rand(40, 5), b=torch.rand(5)), "pool", "out")
    return network


def izhikevich() -> object:
    network, nodes, topology = part("network").Network(), part("network.nodes"), part("network.topology")
    X, cortex = nodes.Input(n=30), nodes.IzhikevichNodes(n=30, excitatory=0.8, lbound=-90.0)
    cortex.S = torch.round(cortex.S * 64) / 64
    network.add_layer(X, "X")
    network.add_layer(cortex, "cortex")
    network.add_connection(topology.Connection(X, cortex, w=12 * torch.rand(30, 30)), "X", "cortex")
    return network


def every_neuron() -> object:
    """A network with every neuron class, each with options that are not its defaults, driven by the same input."""
    nodes, topology = part("network.nodes"), part("network.topology")
    network = part("network").Network(dt=1.0)
    X = nodes.Input(n=30)
    network.add_layer(X, "X")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layers = {
            "cell": nodes.McCullochPitts(n=6, thresh=8.0),
            "if_": nodes.IFNodes(n=6, thresh=-50.0, reset=-64.0, refrac=2, lbound=-66.0, sum_input=True),
            "boosted": nodes.BoostedLIFNodes(n=6, thresh=9.0, refrac=2, tc_decay=30.0),
            "current": nodes.CurrentLIFNodes(n=6, tc_i_decay=5.0, tc_decay=40.0, rest=-64.0, reset=-63.0),
            "adaptive": nodes.AdaptiveLIFNodes(
                n=6, theta_plus=0.5, tc_theta_decay=50.0, thresh=torch.linspace(-55, -50, 6)
            ),
            "csrm": nodes.CSRMNodes(
                n=6, thresh=20.0, rest=-5.0, tau=4, res_window_size=8, ref_window_size=4, tc_decay=20.0
            ),
            "subtract": part("conversion").SubtractiveResetIFNodes(n=6, thresh=9.0, reset=-2.0, refrac=3, lbound=-1.0),
            "two": nodes.LIFNodes(shape=(2, 3), rest=-60, reset=-61, tc_decay=torch.linspace(20, 60, 6).reshape(2, 3)),
        }
    for name, layer in layers.items():
        network.add_layer(layer, name)
        network.add_connection(topology.Connection(X, layer, w=3 * torch.rand(30, 6)), "X", name)
    # A layer computes with its kernels and decays, however they were set.
    layers["csrm"].resKernel = torch.round(layers["csrm"].resKernel * 64) / 64
    layers["csrm"].refKernel = torch.round(layers["csrm"].refKernel * 64) / 64
    layers["boosted"].decay = torch.tensor(0.75)
    return network


def every_connection() -> object:
    nodes, topology = part("network.nodes"), part("network.topology")
    network = part("network").Network()
    shapes = {1: (2, 9), 2: (2, 6, 6), 3: (2, 4, 4, 4)}
    for axes, shape in shapes.items():
        inner = tuple(size - 1 for size in shape[1:])
        halves = tuple(size // 2 for size in shape[1:])
        strided = tuple(size // 2 + 1 for size in shape[1:])
        source = nodes.Input(shape=shape)
        conv, pool, local = (
            nodes.LIFNodes(shape=(3, *strided), tc_decay=20.0),
            nodes.IFNodes(shape=(2, *halves), thresh=-62.5, refrac=0),
            nodes.LIFNodes(shape=(3, *inner), tc_decay=20.0),
        )
        for name, layer in {"X": source, "conv": conv, "pool": pool, "local": local}.items():
            network.add_layer(layer, f"{name}{axes}")
        kernel = 2 if axes == 1 else (2,) * axes
        convolution = getattr(topology, f"Conv{axes}dConnection")
        w, b = 4 * torch.rand(3, 2, *(2,) * axes), torch.rand(3)
        network.add_connection(convolution(source, conv, kernel, 2, 1, w=w, b=b), f"X{axes}", f"conv{axes}")
        pooling = topology.MaxPoo3dConnection if axes == 3 else getattr(topology, f"MaxPool{axes}dConnection")
        network.add_connection(pooling(source, pool, 2, 2, decay=0.25), f"X{axes}", f"pool{axes}")
        places = getattr(topology, f"LocalConnection{axes}D")(source, local, kernel, 1 if axes == 1 else (1,) * axes, 3)
        places.w.mul_(5)
        network.add_connection(places, f"X{axes}", f"local{axes}")
    return network


def pipelines() -> object:
    nodes, topology, features = part("network.nodes"), part("network.topology"), part("network.topology_features")
    network = part("network").Network()
    X, Y = nodes.Input(n=30), nodes.LIFNodes(n=20)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    pipeline = [
        features.Bias("first", torch.rand(30, 20) / 64),
        features.Weight("weight", 6 * torch.rand(30, 20), norm=40.0),
        features.Mask("mask", torch.rand(30, 20) < 0.5),
        features.Intensity("intensity", torch.rand(30, 20), range=(0, 1)),
        features.Bias("bias", torch.rand(30, 20) / 16),
        features.Degradation("degradation", torch.rand(30, 20) / 64),
        features.Probability("probability", (torch.rand(30, 20) < 0.8).float()),
    ]
    network.add_connection(topology.MulticompartmentConnection(X, Y, "cpu", pipeline), "X", "Y")
    inhibition = features.Weight("weight", -2 * (torch.ones(20, 20) - torch.eye(20)), sparse=True)
    network.add_connection(topology.MulticompartmentConnection(Y, Y, "cpu", [inhibition]), "Y", "Y")
    return network


def failing() -> object:
    """Stochastic synapses, forward and in a loop, with a bias that is not stochastic."""
    nodes, topology, features = part("network.nodes"), part("network.topology"), part("network.topology_features")
    network = part("network").Network()
    X, Y = nodes.Input(n=30), nodes.LIFNodes(n=20)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    for (name, source), sign in ((("X", X), 6), (("Y", Y), -2)):
        pipeline = [
            features.Probability("probability", torch.rand(source.n, 20)),
            features.Weight("weight", sign * torch.rand(source.n, 20)),
            features.Bias("bias", torch.rand(source.n, 20) / 16),
        ]
        network.add_connection(topology.MulticompartmentConnection(source, Y, "cpu", pipeline), name, "Y")
    return network


def converging(weights: list[float]) -> object:
    """A network in which sources of one neuron each drive the same neuron."""
    network, nodes, topology = part("network").Network(), part("network.nodes"), part("network.topology")
    out = nodes.BoostedLIFNodes(n=1, thresh=2.0, refrac=0)
    for i in range(len(weights)):
        network.add_layer(nodes.Input(n=1), f"X{i}")
    network.add_layer(out, "out")
    for i, weight in enumerate(weights):
        built = topology.Connection(network.layers[f"X{i}"], out, w=torch.tensor([[weight]]))
        network.add_connection(built, f"X{i}", "out")
    return network
