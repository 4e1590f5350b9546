"""Build a network from a sequence of modules: trained torch layers, connections and neurons."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.network.connection import Connection, Dense, OneToOne, Reshape
from deploy_snn.network.convolution import Conv, Conv1d, Conv2d, Conv3d
from deploy_snn.neurons import Input, Nodes, Relay

if TYPE_CHECKING:
    from deploy_snn.network.network import Network

Shape = tuple[int, ...]

CONVOLUTIONS: dict[type[nn.Module], type[Conv]] = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}


def add_in_sequence(
    network: "Network", modules: Sequence[nn.Module], input_shape: Sequence[int] | None, inputs: str
) -> None:
    """Add modules to an empty network; see :meth:`Network.sequential`."""
    neurons = [module for module in modules if isinstance(module, Nodes)]
    if not neurons:
        raise InvalidInput(
            "sequential(...): the modules contain no neurons; expected at least one module such as LIFNodes(100)"
        )
    if inputs not in ("values", "spikes"):
        raise InvalidInput(f"sequential(..., inputs={inputs!r}): expected 'values' or 'spikes'")
    dt = neurons[0].dt_in_ms()
    shape = tuple(input_shape) if input_shape is not None else _input_shape(modules[0])
    network.add_layer(
        Relay(shape=shape, dt=dt) if inputs == "values" else Input(shape=shape, dt=dt), "input", external=True
    )
    source, relays, layers = "input", 0, 0
    pending: Connection | None = None
    for index, module in enumerate(modules):
        what = f"sequential(...): module {index} ({type(module).__name__})"
        if isinstance(module, Nodes):
            layers += 1
            network.add_layer(module, f"layer{layers}")
            network.add_connection(pending or _identity(shape, module.shape), source, f"layer{layers}")
            source, shape, pending = f"layer{layers}", module.shape, None
            continue
        if pending is not None:  # two connections in a row need a relay layer between them
            relays += 1
            network.add_layer(Relay(shape=shape, dt=dt), f"relay{relays}")
            network.add_connection(pending, source, f"relay{relays}")
            source = f"relay{relays}"
        pending = _connection(module, what)
        shape = _output_shape(pending, shape, what)
    if pending is not None:
        network.add_layer(Relay(shape=shape, dt=dt), "output")
        network.add_connection(pending, source, "output")
        network.record.append("output.s")


def _connection(module: nn.Module, what: str) -> Connection:
    if isinstance(module, Connection):
        return module
    if isinstance(module, nn.Linear):
        return Dense.from_linear(module)
    if isinstance(module, nn.Flatten):
        if (module.start_dim, module.end_dim) != (1, -1):
            raise InvalidInput(f"{what}: only Flatten(1, -1), of all axes but the batch, is supported")
        return Reshape()
    for layer, cls in CONVOLUTIONS.items():
        if isinstance(module, layer):
            return cls.from_conv(module)
    supported = ", ".join(["Linear", *(layer.__name__ for layer in CONVOLUTIONS), "Flatten"])
    raise InvalidInput(f"{what} is not supported; expected neurons and connections of deploy_snn, or torch's {supported}")


def _identity(source: Shape, target: Shape) -> Connection:
    return OneToOne(1.0) if source == target else Reshape()


def _input_shape(module: nn.Module) -> Shape:
    if isinstance(module, Nodes):
        return module.shape
    if isinstance(module, nn.Linear):
        return (module.in_features,)
    if isinstance(module, Dense):
        return (len(module.w),)
    raise InvalidInput(
        f"sequential({type(module).__name__}, ...): the input shape is unknown; pass input_shape=(channels, height, width)"
    )


def _output_shape(connection: Connection, source: Shape, what: str) -> Shape:
    if isinstance(connection, Dense):
        return (connection.w.shape[1],)
    if isinstance(connection, Conv):
        try:
            return tuple(connection.transmit(torch.zeros(1, *source)).shape[1:])
        except RuntimeError as error:
            raise InvalidInput(f"{what}: {first_line(error)}") from None
    if isinstance(connection, Reshape):
        return (math.prod(source),)
    return source
