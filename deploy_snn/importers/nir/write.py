"""Export of a network as a NIR graph, if every part of it has a counterpart in NIR."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.from_neurons import node_of
from deploy_snn.importers.nir.neurons import Reading
from deploy_snn.network import AvgPool2d, Connection, Conv1d, Conv2d, Dense, Network, OneToOne, Reshape, SumPool2d
from deploy_snn.network.layer import Layer
from deploy_snn.network.sparse import Gathered, Sparse
from deploy_snn.neurons import Input, Relay

if TYPE_CHECKING:
    from nir import NIRGraph, NIRNode


LARGEST_MATRIX = 2**28
"""The largest dense size of a sparse connection, in weights: NIR stores dense matrices."""


class Writing:
    """Builds a graph from a network. A connection that reads the previous step gets a Delay of one step.

    Args:
        network: the network. reading: how the graph will be read.
    """

    def __init__(self, network: Network, reading: Reading) -> None:
        self.network = network
        self.reading = reading
        self.order = list(network.layers)
        self.nodes: dict[str, NIRNode] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.senders: dict[str, list[str]] = {}
        """For each layer, the nodes that hold its output: its own node or, for a relay, the nodes before it."""

    def graph(self, metadata: dict[str, Any]) -> "NIRGraph":
        """Build the graph. Raises InvalidInput, naming the layer or connection, for parts without a counterpart in NIR."""
        import nir  # noqa: PLC0415

        states = [name for name in self.network.record if not name.endswith(".s")]
        if states:
            raise InvalidInput(f"record={states[0]!r} has no counterpart in NIR, whose outputs are what nodes send")
        for name, layer in self.network.layers.items():
            if not self._is_junction(layer):
                with_input = isinstance(layer.neuron, Input | Relay)
                self.nodes[name] = nir.Input(np.array(layer.shape)) if with_input else node_of(layer, self.reading)
                self.senders[name] = [name]
        relays = [name for name, layer in self.network.layers.items() if self._is_junction(layer)]
        for name in [*relays, *(name for name in self.order if name not in relays)]:
            self._write_incoming(name)
        for name, layer in self.network.layers.items():
            if layer.external and name not in self._inputs():
                self._join(self._put(f"{name}_input", nir.Input(np.array(layer.shape))), name)
        for name in self._outputs():
            target = self._put(
                name if name not in self.nodes else f"{name}_output", nir.Output(np.array(self._shape(name)))
            )
            for sender in self.senders[name]:
                self._join(sender, target)
        return nir.NIRGraph(self.nodes, list(self.edges), metadata=metadata, type_check=False)

    def _is_junction(self, layer: Layer) -> bool:
        return isinstance(layer.neuron, Relay) and not layer.external

    def _inputs(self) -> list[str]:
        return [name for name, node in self.nodes.items() if type(node).__name__ == "Input"]

    def _outputs(self) -> list[str]:
        """Layers that are no source of a connection (all layers if there is none), and recorded relays."""
        shown = [name for name, layer in self.network.layers.items() if not layer.is_passthrough]
        ends = [name for name in shown if not self.network.layers[name].is_source]
        recorded = [name for name in self.order if name not in shown and f"{name}.s" in self.network.record]
        return (ends or shown) + recorded

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.network.layers[name].shape

    def _write_incoming(self, name: str) -> None:
        """Write the connections into a layer. Those into its source relays are written first."""
        if name in self.senders and name not in self.nodes:
            return
        junction = self._is_junction(self.network.layers[name])
        if junction:
            self.senders[name] = []
        for connection in self.network.connections:
            if connection.target != name:
                continue
            if self._is_junction(self.network.layers[connection.source]) and connection.source not in self.senders:
                self._write_incoming(connection.source)
            ends = self._through(connection)
            if junction:
                self.senders[name] += ends
                continue
            for end in ends:
                self._join(end, name)

    def _through(self, connection: Connection) -> list[str]:
        """The nodes at the end of a connection: its own, or the sender itself for an identity."""
        late = not self.network.one_step or self.order.index(connection.target) <= self.order.index(connection.source)
        senders = self._late(connection.source) if late else self.senders[connection.source]
        nodes = links_of(connection)
        known = self._is_junction(self.network.layers[connection.target]) or any(
            (s, connection.target) in self.edges for s in senders
        )
        if not nodes and (len(senders) > 1 or known):
            nodes = [_scale(np.ones(connection.source_shape))]
        for index, node in enumerate(nodes):
            name = self._put(connection.name if index == len(nodes) - 1 else f"{connection.name}_{index}", node)
            for sender in senders:
                self._join(sender, name)
            senders = [name]
        return senders

    def _late(self, source: str) -> list[str]:
        """The nodes that hold a layer's output of the previous step."""
        import nir  # noqa: PLC0415

        name = f"{source}_late"
        if (self.senders[source][0], name) not in self.edges:
            name = self._put(name, nir.Delay(np.full(self._shape(source), self.reading.seconds)))
            for sender in self.senders[source]:
                self._join(sender, name)
        return [name]

    def _put(self, name: str, node: "NIRNode") -> str:
        """Add a node under a unique name."""
        taken = {*self.nodes, *self.order} if name not in self.order or name in self.nodes else {*self.nodes}
        free = next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        self.nodes[free] = node
        return free

    def _join(self, source: str, target: str) -> None:
        self.edges[(source, target)] = None


def links_of(connection: Connection) -> "list[NIRNode]":
    """The linear nodes of a connection, [] for the identity. Raises InvalidInput if it has no counterpart in NIR."""
    import nir  # noqa: PLC0415

    where = f"connection '{connection.name}' ({type(connection).__name__})"
    flat: list[NIRNode] = [] if len(connection.source_shape) == 1 else [_flatten(connection.source_shape)]
    if connection.TAKES_NOISE:
        raise InvalidInput(f"{where} takes noise, which has no counterpart in NIR")
    match connection:
        case Dense() | Gathered():
            if len(connection.target_shape) > 1:
                raise InvalidInput(
                    f"{where} gives {list(connection.target_shape)}: NIR has nothing that unfolds a dense sum"
                )
            w, b = _matrix(connection).T, getattr(connection, "b", None)
            return [*flat, nir.Linear(w) if b is None else nir.Affine(w, b.numpy())]
        case OneToOne():
            one = bool((connection.w == 1).all())
            return [] if one else [_scale(connection.w.expand(connection.source_shape).numpy())]
        case Reshape():
            if len(connection.target_shape) > 1:
                raise InvalidInput(f"{where} gives {list(connection.target_shape)}: NIR has nothing that unfolds")
            return flat
        case Conv1d() | Conv2d():
            return [_conv(connection)]
        case AvgPool2d():
            return [nir.AvgPool2d(*map(np.array, (connection.kernel_size, connection.stride, connection.padding)))]
        case SumPool2d():
            return [nir.SumPool2d(*map(np.array, (connection.kernel_size, connection.stride, connection.padding)))]
    raise InvalidInput(f"{where} has no counterpart in NIR")


def _scale(values: Any) -> "NIRNode":
    import nir  # noqa: PLC0415

    return nir.Scale(np.ascontiguousarray(values))


def _flatten(shape: tuple[int, ...]) -> "NIRNode":
    import nir  # noqa: PLC0415

    return nir.Flatten(np.array(shape), start_dim=0, end_dim=-1)


def _matrix(connection: Dense | Gathered) -> Any:
    if isinstance(connection, Dense):
        return connection.w.numpy()
    size = [math.prod(connection.source_shape), connection.n_target]
    if math.prod(size) > LARGEST_MATRIX:
        raise InvalidInput(
            f"connection '{connection.name}' ({type(connection).__name__}): NIR has no sparse weights, and {size} would "
            f"take {math.prod(size) * 4 / 1e9:.1f} GB as a dense matrix: export a bundle instead"
        )
    if isinstance(connection, Sparse):
        return connection.matrix().to_dense().numpy()
    targets = torch.arange(connection.n_target).expand_as(connection.sources.T)
    w = torch.zeros(math.prod(connection.source_shape), connection.n_target)
    return w.index_put((connection.sources.T, targets), connection.fan_in.T, accumulate=True).numpy()


def _conv(connection: Conv1d | Conv2d) -> "NIRNode":
    import nir  # noqa: PLC0415

    bias = np.zeros(len(connection.w), np.float32) if connection.b is None else connection.b.numpy()
    sizes = connection.source_shape[1:]
    options = {"weight": connection.w.numpy(), "groups": connection.groups, "bias": bias}
    if isinstance(connection, Conv1d):
        (stride,), (padding,), (dilation,) = connection.stride, connection.padding, connection.dilation
        return nir.Conv1d(input_shape=sizes[0], stride=stride, padding=padding, dilation=dilation, **options)
    stride2, padding2, dilation2 = tuple(connection.stride), tuple(connection.padding), tuple(connection.dilation)
    return nir.Conv2d(input_shape=tuple(sizes), stride=stride2, padding=padding2, dilation=dilation2, **options)
