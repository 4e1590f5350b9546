"""A network over a whole sequence, component by component. torch.export captures this for the sequence files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deploy_snn.network.connection import Connection
from deploy_snn.network.layer import Layer
from deploy_snn.network.plan import Component
from deploy_snn.torch_internals import scan

Tensors = dict[str, Tensor]
DRIVE = "drive:"  # layer names are identifiers, so they cannot contain a colon
PRESYNAPTIC = "presynaptic:"
PREVIOUS = ".previous"


@dataclass(frozen=True)
class Graph:
    """The layers and connections of a network, and its options."""

    module: nn.Module
    """The network, with all parameters of its layers and connections."""
    layers: Mapping[str, Layer]
    connections: Sequence[Connection]
    one_step: bool
    record: Sequence[str]


class SequenceRun:
    """One run of a network over a sequence: its inputs, and the results of the components that have run so far."""

    def __init__(self, network: Graph, inputs: Tensors, state: Tensors) -> None:
        self.network = network
        self.inputs = inputs
        self.state = state
        self.connections = {connection.name: connection for connection in network.connections}
        self.order = list(network.layers)
        self.last: Tensors = {}
        self.outputs: Tensors = {}
        self.spiked: Tensors = {}
        """For each layer its spikes as 0.0 and 1.0, or a graded layer's numbers, ``[T, B, *shape]``."""

    def run(self, component: Component) -> None:
        """Run one component over the whole sequence. The components that it reads from must have run before."""
        recordings = self._run_stateless(component) if component.stateless else self._run_scan(component)
        for name in component.layers:
            layer, spikes = self.network.layers[name], recordings.pop(f"{name}.s")
            if layer.is_source:
                self.spiked[name] = spikes if layer.graded else spikes.to(torch.float32)
            if layer.remembers:
                self.last[name + PREVIOUS] = self.spiked[name][-1]
            if not layer.is_passthrough or f"{name}.s" in self.network.record:
                self.outputs[f"{name}.s"] = spikes.clone() if layer.graded else spikes
        self.outputs |= {f"record.{name}": values for name, values in recordings.items()}
        for name in component.layers:
            if name + PREVIOUS in self.network.record:
                self.outputs[f"record.{name}{PREVIOUS}"] = self.spiked[name].clone()

    def _presynaptic(self, connection: Connection) -> Tensor:
        """The spikes that a connection reads at each step: its source's spikes of the previous step, or of this step."""
        spiked = self.spiked[connection.source]
        if self.network.one_step and self.order.index(connection.source) < self.order.index(connection.target):
            return spiked
        return torch.cat([self.state[connection.source + PREVIOUS].unsqueeze(0), spiked])[:-1]

    def _terms(self, component: Component, name: str) -> tuple[list[Connection], Tensors]:
        """Split a layer's drive into the connections that are added inside the Scan, and the input sequences for the Scan.

        The order of addition stays the same. All terms before the first inner connection are added up here, into one
        sequence. Without an inner connection, these are all terms.
        """
        incoming = [
            self.connections[connection] for connection in component.incoming if self.connections[connection].target == name
        ]
        sequences: Tensors = {}
        first = next((i for i, connection in enumerate(incoming) if connection.name in component.inner), len(incoming))
        total: Tensor | None = None
        for connection in incoming[:first]:
            drive = connection.over_time(self._presynaptic(connection), self.inputs)
            total = drive if total is None else total + drive
        inside = incoming[first:]
        if self.network.layers[name].external and not inside:
            external = self.inputs[f"{name}.x"]
            total = external if total is None else total + external
        elif self.network.layers[name].external:
            sequences[f"{name}.x"] = self.inputs[f"{name}.x"]
        if total is not None:
            sequences[DRIVE + name] = total
        for connection in inside:
            if connection.name not in component.inner:
                sequences[DRIVE + connection.name] = connection.over_time(self._presynaptic(connection), self.inputs)
            elif connection.source not in component.layers:
                sequences[PRESYNAPTIC + connection.name] = self._presynaptic(connection)
        return inside, sequences

    def _run_stateless(self, component: Component) -> Tensors:
        """Run a layer without a state on all steps at once."""
        (name,) = component.layers
        _, sequences = self._terms(component, name)
        after: Tensors = {}
        layer = self.network.layers[name]
        return {f"{name}.s": layer(sequences.get(DRIVE + name), self.inputs, self.state, after)}

    def _run_scan(self, component: Component) -> Tensors:
        """Run a component step by step, in a Scan."""
        inside: dict[str, list[Connection]] = {}
        sequences: Tensors = {}
        for name in component.layers:
            inside[name], own = self._terms(component, name)
            sequences |= own
            if self.network.layers[name].stochastic:
                sequences[f"{name}.noise"] = self.inputs[f"{name}.noise"]
        inner = [self.connections[name] for name in component.incoming if name in component.inner]
        sequences |= {
            f"{connection.name}.noise": self.inputs[f"{connection.name}.noise"]
            for connection in inner
            if connection.TAKES_NOISE
        }
        if any(connection.plastic for connection in inner) and "reward" in self.inputs:
            sequences["reward"] = self.inputs["reward"]
        if not sequences:  # a Scan gets its length from a sequence
            sequences["length"] = next(iter(self.inputs.values())).flatten(1)[:, :1]
        body = ScanBody(self.network, component, inside, inner)
        last, recordings = scan(body, self._carried(component, inner), sequences, self.network.module)
        self.last |= {name: value for name, value in last.items() if not name.endswith(PREVIOUS)}
        return dict(recordings)

    def _carried(self, component: Component, inner: list[Connection]) -> Tensors:
        """The states that the Scan carries from step to step."""
        prefixes = tuple(f"{name}." for name in (*component.layers, *(connection.name for connection in inner)))
        looped = {connection.source + PREVIOUS for connection in inner if connection.source in component.layers}
        return {
            name: value
            for name, value in self.state.items()
            if name in looped or (name.startswith(prefixes) and not name.endswith(PREVIOUS))
        }


class ScanBody:
    """One step of a component inside its Scan: ``next_state, outputs = body(state, now)``.

    Args:
        network: the network. component: the component that steps.
        inside: for each layer, the connections whose drives are added inside the Scan, in this order.
        inner: the connections whose drives are computed inside the Scan.
    """

    def __init__(
        self, network: Graph, component: Component, inside: dict[str, list[Connection]], inner: list[Connection]
    ) -> None:
        self.network = network
        self.component = component
        self.inside = inside
        self.inner = inner
        self.sources = {connection.source for connection in inner} & set(component.layers)

    def __call__(self, state: Tensors, now: Tensors) -> tuple[Tensors, Tensors]:
        after: Tensors = {}
        spikes: Tensors = {}
        spiked = {name: state[name + PREVIOUS] for name in self.sources if name + PREVIOUS in state}
        fired: Tensors = {}
        drives: dict[str, Tensor | None] = {}
        if not self.network.one_step:
            drives = {name: self._drive(name, now, state, after, spiked) for name in self.component.layers}
        for name in self.component.layers:
            x = drives[name] if name in drives else self._drive(name, now, state, after, spiked)
            layer = self.network.layers[name]
            s = layer(x, now, state, after)
            spikes[f"{name}.s"] = s.clone() if layer.graded else s
            if name in self.sources:
                after[name + PREVIOUS] = z = s.clone() if layer.graded else s.to(torch.float32)
                if self.network.one_step:
                    spiked[name] = z
            if layer.teaches:
                fired[name] = s.to(torch.float32)
        for connection in self.inner:
            if connection.plastic:
                connection.learn(fired, now, state, after, owned=False)
        recorded = {
            name: after[name].clone() for name in self.network.record if name in after and not name.endswith(PREVIOUS)
        }
        return {name: after[name] for name in state}, spikes | recorded

    def _drive(self, name: str, now: Tensors, state: Tensors, after: Tensors, spiked: Tensors) -> Tensor | None:
        """Sum a layer's drives in the order in which its connections were added. The external input is last."""
        total = now.get(DRIVE + name)
        for connection in self.inside[name]:
            if connection.name in self.component.inner:
                z = now.get(PRESYNAPTIC + connection.name)
                term = connection(spiked[connection.source] if z is None else z, now, state, after)
            else:
                term = now[DRIVE + connection.name]
            total = term if total is None else total + term
        if f"{name}.x" in now:
            total = now[f"{name}.x"] if total is None else total + now[f"{name}.x"]
        return total
