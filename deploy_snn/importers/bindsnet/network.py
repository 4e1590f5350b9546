"""Import of BindsNET networks: a live ``Network``, or a file of ``Network.save``, which is read without BindsNET.

A live object and a file go through the same reading, attribute by attribute, so they cannot give different networks.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from keyword import iskeyword
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.connections import is_pooling, left_behind_in, read_connection
from deploy_snn.importers.bindsnet.contents import describe, describe_unknown
from deploy_snn.importers.bindsnet.foreign_part import ForeignPart
from deploy_snn.importers.bindsnet.layers import RELAY, read_layer
from deploy_snn.importers.bindsnet.names import CLASSES, NETWORKS
from deploy_snn.importers.bindsnet.restricted_pickle import UnknownClass
from deploy_snn.importers.bindsnet.rules import read_rule
from deploy_snn.importers.bindsnet.saved import Name, Saved, name_of
from deploy_snn.importers.bindsnet.torch_file import read_torch_file
from deploy_snn.importers.connect import connect
from deploy_snn.importers.imported import Imported
from deploy_snn.learning import Rule
from deploy_snn.network import Network
from deploy_snn.neurons import Input, Nodes

OLD_VERSION = (
    "the network is of BindsNET 0.2, whose neurons follow other rules: build it again with BindsNET 0.3.4, "
    "copy the w, b and theta of this one into it, and save that network"
)
"""A layer's dt is a plain number there, and a tensor since 0.3."""

PLAIN = Name("bindsnet.network.network", "Network")


def read_bindsnet(path: Path, options: dict[str, Any]) -> Imported:
    """Read a file of ``Network.save``; ``options`` are keywords of :func:`from_bindsnet`. Nothing in the file is run.

    Raises InvalidInput for any other file, and for a network that :func:`from_bindsnet` rejects.
    """
    known = list(inspect.signature(from_bindsnet).parameters)[1:]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise InvalidInput(f"unknown option {', '.join(unknown)}; a BindsNET network takes {', '.join(known)}")
    for name in ("one_step", "learning", "plastic"):
        if not isinstance(options.get(name, False), bool):
            raise InvalidInput(f"{name}={options[name]!r}: expected true or false")
    if not isinstance(options.get("external", ""), (str, list)):
        raise InvalidInput(f"external={options['external']!r}: expected the name of a layer, or a list of them")
    try:
        saved = read_torch_file(path, CLASSES)
    except UnknownClass as error:
        raise InvalidInput(describe_unknown(error, path)) from None
    if not isinstance(saved, Saved) or saved.of not in NETWORKS:
        raise InvalidInput(f"{path} {describe(saved)}")
    try:
        return from_bindsnet(saved, **options)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def from_bindsnet(
    network: Any,
    *,
    one_step: bool = False,
    learning: bool | None = None,
    external: Sequence[str] = (),
    plastic: bool = False,
) -> Imported:
    """Import a live BindsNET network; its state starts as after ``reset_state_variables()``.

    Args:
        network: a ``bindsnet.network.Network``.
        one_step: as the argument of its ``run``: spikes pass through all layers within one step.
        learning: whether theta and the weights of a ``plastic`` network change. By default each layer's own flag decides
            about theta, and weights change.
        external: names of further layers with an external input. ``Input`` layers and layers without incoming connections
            always have one.
        plastic: import the learning rules of the connections, so that the network continues to learn.

    Raises:
        InvalidInput: for parts that have no counterpart in deploy_snn, and for those whose spikes would differ.
    """
    if not _is_network(network):
        raise InvalidInput(f"expected a BindsNET network, not {type(network).__name__}")
    whole = ForeignPart("the network", network)
    return _Reading(whole, one_step=one_step, learning=learning, external=external, plastic=plastic).result()


class _Reading:
    """One import in progress."""

    def __init__(
        self, whole: ForeignPart, *, one_step: bool, learning: bool | None, external: Sequence[str], plastic: bool
    ) -> None:
        self.whole = whole
        self.one_step = one_step
        self.learning = learning
        self.plastic = plastic
        self.parts = {name: ForeignPart(f"layer {name!r}", layer) for name, layer in _items(whole, "layers")}
        if any(isinstance(part.get("dt", None), (int, float)) for part in self.parts.values() if part.kind.name != RELAY):
            raise InvalidInput(OLD_VERSION)
        self.names = _identifiers(self.parts)
        self.external = [external] if isinstance(external, str) else list(external)
        unknown = [name for name in self.external if name not in self.parts]
        if unknown:
            raise InvalidInput(f"external: unknown layer {unknown[0]!r}; choose from {', '.join(self.parts)}")
        self.left_behind: list[str] = []
        self.notes = [f"layer {old!r} is called {new!r} here" for old, new in self.names.items() if old != new]

    def result(self) -> Imported:
        network = Network(one_step=self.one_step)
        connections = self._connections()
        fed = {target for _, _, target in connections}
        rules = [self._rule(connection) for connection, _, _ in connections]
        ends = [(rule, source, target) for rule, (_, source, target) in zip(rules, connections, strict=True) if rule]
        traced = {source for rule, source, _ in ends if rule.reads_source_trace}
        traced |= {target for rule, _, target in ends if rule.reads_target_trace}
        predicted = {target for rule, _, target in ends if rule.reads_probability}
        for name, part in self.parts.items():
            neuron = read_layer(
                part,
                self.whole.number("dt"),
                learning=self.learning,
                traces=name in traced,
                probability=name in predicted,
            )
            external = name in self.external or name not in fed
            if self.one_step and name in self.external and name in fed:
                raise part.refuse("with one_step BindsNET discards the external input of a layer that has connections")
            if part.kind.name == RELAY:
                self._check_relay(part, [connection for connection, _, target in connections if target == name])
            network.add_layer(neuron, self.names[name], external=external)
            self._add_notes(part, neuron)
        for (connection, source, target), rule in zip(connections, rules, strict=True):
            first, second = (network.layers[self.names[end]].neuron for end in (source, target))
            made = read_connection(connection, first, second, rule)
            connect(network, made, self.names[source], self.names[target])
            self.left_behind += left_behind_in(connection, learns=rule is not None)
        self._add_notes_on_learning([rule for rule in rules if rule is not None])
        if self.whole.get("reward_fn", None) is not None:
            self.left_behind.append(f"reward {name_of(self.whole.get('reward_fn')).name}")
        self.left_behind += [f"monitor {name!r}" for name, _ in _items(self.whole, "monitors")]
        if network.layers and all(layer.is_passthrough for layer in network.layers.values()):
            raise InvalidInput("the network has nothing but Input layers, and so no spikes of its own")
        return Imported(network.finish(), tuple(self.left_behind), tuple(self.notes))

    def _rule(self, connection: ForeignPart) -> Rule | None:
        return read_rule(connection, learning=self.learning is not False) if self.plastic else None

    def _add_notes_on_learning(self, rules: list[Rule]) -> None:
        if self.plastic and not rules:
            raise InvalidInput("plastic=True: no connection of the network has a learning rule; leave it out")
        if any(rule.normalises for rule in rules):
            self.notes.append(
                "BindsNET normalises the weights after every run, learning or not; here a host calls normalise, "
                "such as run --normalise-every"
            )
        if any(rule.reads_reward for rule in rules):
            self.notes.append("the reward of each step is the input 'reward'")

    def _connections(self) -> list[tuple[ForeignPart, str, str]]:
        """The connections with the layers that they connect. A key names the target, but not always the source."""
        names = {id(part.thing): name for name, part in self.parts.items()}
        connections = []
        for key, thing in _items(self.whole, "connections"):
            ends = key if isinstance(key, tuple) and len(key) == 2 else (key, key)
            connection = ForeignPart(f"connection {ends[0]!r} to {ends[1]!r}", thing)
            source, target = (names.get(id(connection.get(end))) for end in ("source", "target"))
            if ends[1] not in self.parts:
                self.left_behind.append(
                    f"{connection.label}: unknown layer {ends[1]!r}, so that BindsNET ignores the connection"
                )
            elif source is None or target != ends[1]:
                raise connection.refuse("it joins layers that are not the network's, or not the one that it is named after")
            else:
                connections.append((connection, source, target))
        return connections

    def _check_relay(self, part: ForeignPart, incoming: list[ForeignPart]) -> None:
        if len(incoming) != 1 or not is_pooling(incoming[0]):
            raise part.refuse(
                "it passes on sums of weights as if they were spikes: its only input must be one pooling connection"
            )

    def _add_notes(self, part: ForeignPart, neuron: Nodes) -> None:
        if part.flag("traces") and not neuron.traces:
            self.left_behind.append(f"{part.label}: its spike trace, which nothing but learning rules reads")
        resting = {"s": torch.zeros(neuron.shape)} | neuron.resting_state()
        moved = [name for name, value in resting.items() if name != "theta" and _moved(part, name, value)]
        if moved:
            self.left_behind.append(f"{part.label}: its {' and '.join(moved)} when it was saved; a run starts from rest")
        if isinstance(neuron, Input):
            self.notes.append(
                f"{part.label} spikes where its input is not 0; in BindsNET it passes any number on unchanged"
            )
        if "theta" in resting:
            self.notes.append(f"{part.label} continues to adapt its theta; learning=false keeps it as it was saved")


def _is_network(thing: Any) -> bool:
    if isinstance(thing, Saved):
        return thing.of in NETWORKS
    return any(Name(cls.__module__, cls.__name__) == PLAIN for cls in type(thing).__mro__)


def _items(whole: ForeignPart, name: str) -> list[tuple[Any, Any]]:
    held = whole.get(name)
    if not isinstance(held, dict):
        raise whole.refuse(f"its {name} are not a dictionary")
    return list(held.items())


def _identifiers(names: Iterable[str]) -> dict[str, str]:
    """Map each layer's name to a unique Python identifier."""
    found: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise InvalidInput(f"a layer is named {type(name).__name__}, expected text")
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        plain = plain if plain.isidentifier() and not iskeyword(plain) else f"layer_{plain}"
        while plain != name and (plain in names or plain in found.values()):
            plain += "_"
        found[name] = plain
    return found


def _moved(part: ForeignPart, name: str, resting: Tensor) -> bool:
    """Return whether a state was not at rest when the network was saved."""
    value = part.get(name, None)
    if not isinstance(value, Tensor) or value.shape[1:] != resting.shape:
        return False
    return not bool((value.detach().cpu().to(torch.float32) == resting).all())
