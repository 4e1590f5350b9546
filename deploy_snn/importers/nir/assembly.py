"""Assembly of a network from a flat NIR graph."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.importers.connect import connect
from deploy_snn.importers.layer_names import free_name
from deploy_snn.importers.nir.graph import Flat, Route, arrow, ends, links_on, shown
from deploy_snn.importers.nir.links import AXES, link_of
from deploy_snn.importers.nir.neurons import Reading, Shape, neuron_of, numbers, parameter_shape, relay
from deploy_snn.network import Connection, Network, OneToOne, Reshape
from deploy_snn.neurons import Input, Nodes

LARGEST = 2**31
"""The largest number of neurons in a layer. A larger claim is rejected before memory is allocated."""


class Assembly:
    """Builds a network from a flat graph. Edges act within a step; an edge that closes a loop reads the previous step.

    A route of linear nodes becomes connections, with a relay between each two. Delay lines step before all other layers, so
    they read the previous step, which is the first step of their delay.

    Args:
        flat: the graph. reading: how its numbers are read.
        spikes: whether the inputs are spikes, and not numbers.
    """

    def __init__(self, flat: Flat, reading: Reading, *, spikes: bool) -> None:
        self.flat = flat
        self.reading = reading
        self.spikes = spikes
        self.notes: list[str] = []
        self.left_behind: list[str] = []
        self.incoming = {name: flat.routes(name) for name in (*flat.dynamic, *flat.outputs)}
        self.shapes: dict[str, Shape] = {}
        self.names: dict[str, str] = {}
        self.layers: dict[str, Nodes] = {}
        self.connections: list[tuple[Connection, str, str]] = []
        self.record: list[str] = []

    def network(self) -> Network:
        """Build the network. Raises InvalidInput, naming the node, for shapes and values that do not fit."""
        flat = self.flat
        used = set().union(*(links_on(route) for routes in self.incoming.values() for route in routes))
        self.left_behind += [
            f"node '{shown(name)}' leads to no neuron and no output"
            for name in flat.nodes
            if flat.is_link(name) and name not in used
        ]
        self._find_shapes()
        early = [name for name in flat.dynamic if self._least_delay(name) >= 1]
        order = flat.order(early, self.incoming)
        for name in order:
            self.names[name] = self._free(name)
        for name in order:
            self._layer(name, early=name in early)
        for name in early:
            self._connect_delay(name, early)
        for name in flat.outputs:
            self._output(name)
        self._note_loops(order, early)
        network = Network(one_step=True, record=self.record)
        inputs = {self.names[name] for name in flat.inputs}
        for name, neuron in self.layers.items():
            network.add_layer(neuron, name, external=name in inputs)
        for connection, source, target in self.connections:
            connect(network, connection, source, target)
        return network.finish()

    def _layer(self, name: str, *, early: bool) -> None:
        """Add a node as a layer, after the relays on its routes, so that these act in the same step."""
        shape, target = self.shapes[name], self.names[name]
        if name in self.flat.inputs:
            self.layers[target] = Input(shape=shape, dt=self.reading.dt) if self.spikes else relay(shape, self.reading)
            return
        if not early:
            for route in self.incoming[name]:
                self._wire(route, target, shape)
        node = self.flat.nodes[name]
        with _naming(name, self.flat):
            self.layers[target] = neuron_of(node, shape, self.reading.of(name, node), early=int(early))

    def _connect_delay(self, name: str, early: Sequence[str]) -> None:
        """Connect a delay. Values from linear nodes or other delays pass through a relay first."""
        for route in self.incoming[name]:
            at_once = route.links or route.source in early
            direct = Route(self._relay(route, (name, *route.links)[-1], self.shapes[name])) if at_once else route
            self._wire(direct, self.names[name], self.shapes[name])

    def _output(self, name: str) -> None:
        """Add an output: the layer that leads to it or, after linear nodes, a new relay."""
        routes = self.incoming[name]
        first = routes[0]
        if len(routes) == 1 and not first.links and isinstance(first.source, str) and first.source not in self.flat.inputs:
            sent = f"{self.names[first.source]}.s"
            self.notes.append(f"output '{shown(name)}' is {sent}")
            self.record.append(sent)
            return
        shape = self._reach(first)
        assert shape is not None  # all shapes are known by now
        target = self._free(name)
        for route in routes:
            self._wire(route, target, shape)
        self.layers[target] = relay(shape, self.reading)
        self.record.append(f"{target}.s")

    def _wire(self, route: Route, target: str, target_shape: Shape) -> None:
        """Add one route to a layer: connections, with a relay between each two."""
        source, shape = self._source(route)
        last: Connection | None = None
        for index, name in enumerate(route.links):
            if last is not None:
                source, last = self._between(last, source, name, shape), None
            with _naming(name, self.flat):
                connection, reached = link_of(self.flat.nodes[name], shape)
            flattened = any(
                AXES.get(type(self.flat.nodes[next_]).__name__) == 1 for next_ in route.links[index + 1 : index + 2]
            )
            # A dense connection flattens its source by itself.
            if not isinstance(connection, Reshape) or (reached != shape and not flattened):
                last = connection
            shape = reached
        if shape != target_shape:
            raise InvalidInput(
                f"{arrow(*ends(route), *route.links)} gives {list(shape)}, and '{target}' takes {list(target_shape)}"
            )
        # There can be only one connection between two layers. A second one goes through a relay.
        if any((a, b) == (source, target) for _, a, b in self.connections):
            source, last = self._between(last or OneToOne(1.0), source, f"{source}_again", shape), None
        self.connections.append((last or OneToOne(1.0), source, target))

    def _source(self, route: Route) -> tuple[str, Shape]:
        """The layer at the beginning of a route, and its shape."""
        if isinstance(route.source, str):
            return self.names.get(route.source, route.source), self.shapes[route.source]
        shape = self._reach(route.source.routes[0])
        assert shape is not None
        target = self._free(f"{route.source.node}_in")
        for inner in route.source.routes:
            self._wire(inner, target, shape)
        self.layers[target] = relay(shape, self.reading)
        return target, shape

    def _between(self, last: Connection, source: str, name: str, shape: Shape) -> str:
        """Add a relay as the target of a connection."""
        target = self._free(name)
        self.connections.append((last, source, target))
        self.layers[target] = relay(shape, self.reading)
        return target

    def _relay(self, route: Route, name: str, shape: Shape) -> str:
        """Add a relay as the target of a route."""
        target = self._free(name)
        self._wire(route, target, shape)
        self.layers[target] = relay(shape, self.reading)
        self.shapes[target] = shape
        return target

    def _find_shapes(self) -> None:
        """Infer shapes from the inputs. A node in a loop that no input reaches has the shape of its parameters."""
        for name in self.flat.inputs:
            with _naming(name, self.flat):
                self.shapes[name] = self._input_shape(name)
        unknown = [name for name in self.flat.dynamic if name not in self.shapes]
        while unknown:
            for name in unknown:
                reached = next((shape for route in self.incoming[name] if (shape := self._reach(route)) is not None), None)
                if reached is not None:
                    self.shapes[name] = reached
            left = [name for name in unknown if name not in self.shapes]
            if len(left) == len(unknown):
                chosen = next((name for name in left if parameter_shape(self.flat.nodes[name])), left[0])
                self.shapes[chosen] = parameter_shape(self.flat.nodes[chosen])
                if not self.shapes[chosen]:
                    raise InvalidInput(f"no input reaches node '{shown(chosen)}', and its parameters do not give its shape")
            unknown = [name for name in left if name not in self.shapes]

    def _reach(self, route: Route) -> Shape | None:
        """The shape at the end of a route; None while the shape of its source is unknown."""
        if isinstance(route.source, str):
            shape = self.shapes.get(route.source)
        else:
            shape = next((found for inner in route.source.routes if (found := self._reach(inner)) is not None), None)
        for name in route.links:
            if shape is not None:
                with _naming(name, self.flat):
                    shape = link_of(self.flat.nodes[name], shape)[1]
        return shape

    def _input_shape(self, name: str) -> Shape:
        node = self.flat.nodes[name]
        sizes = list(node.input_type["input"])
        shape = tuple(int(size) for size in sizes)
        if not shape or list(shape) != sizes or min(shape) < 1 or math.prod(shape) > LARGEST:
            raise InvalidInput(f"it has no shape that a layer can have: {sizes}")
        axes = {AXES.get(type(self.flat.nodes[consumer]).__name__) for consumer in self.flat.first_consumers(name)}
        if shape[0] == 1 and len(axes) == 1 and axes == {len(shape) - 1}:
            self.notes.append(f"input '{shown(name)}' is {list(shape)}: its first axis is taken for the writer's batch")
            return shape[1:]
        return shape

    def _least_delay(self, name: str) -> float:
        """The least number of steps of a delay; 0 for any other node."""
        node = self.flat.nodes[name]
        if type(node).__name__ != "Delay":
            return 0
        with _naming(name, self.flat):
            return float(self.reading.steps(*numbers(node, "delay")).min())

    def _free(self, name: str) -> str:
        return free_name(name, {*self.layers, *self.names.values()})

    def _note_loops(self, order: Sequence[str], early: Sequence[str]) -> None:
        place = {name: i for i, name in enumerate(order)}
        for name in order:
            for source in (source for route in self.incoming[name] for source in ends(route)):
                if name not in early and place[source] >= place[name]:
                    self.notes.append(f"{arrow(source, name)} closes a loop, and acts one step later")


@contextmanager
def _naming(name: str, flat: Flat) -> Iterator[None]:
    """Prefix errors with a node's name, including errors from fields of a wrong type."""
    node = f"node '{shown(name)}' ({type(flat.nodes[name]).__name__})"
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{node}: {error}") from None
    except (AttributeError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(f"{node} cannot be read: {first_line(error)}") from None
