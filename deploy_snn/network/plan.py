"""The order in which a network runs over a whole sequence: component by component, each over all steps.

Only layers in a common loop must step together. These are the strongly connected components of the layer graph. They run
one after the other, each over the whole sequence: a component runs in a Scan, and a connection between two components is
one large product over all steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from deploy_snn.network.connection import Connection


@dataclass(frozen=True)
class Component:
    """Layers that run together and the connections into them, both in the network's order.

    ``inner`` connections are computed inside the component's Scan, because they are part of a loop or have their own state.
    A connection that learns is a loop of its source and its target.
    A ``stateless`` component needs no Scan.
    """

    layers: tuple[str, ...]
    incoming: tuple[str, ...]
    inner: frozenset[str]
    stateless: bool

    def __str__(self) -> str:
        how = "at once, over all steps" if self.stateless else "a Scan over the steps"
        hoisted = [name for name in self.incoming if name not in self.inner]
        text = f"{' + '.join(self.layers)}: {how}"
        text += f"; one product over all steps: {', '.join(hoisted)}" if hoisted else ""
        return text + (f"; step by step: {', '.join(n for n in self.incoming if n in self.inner)}" if self.inner else "")


def components(layers: Sequence[str], connections: Iterable[Connection], stateless: Iterable[str]) -> list[Component]:
    """The components of a network, sorted so that each comes after the components that it reads from."""
    connections, stateless = list(connections), set(stateless)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(layers)
    graph.add_edges_from((connection.source, connection.target) for connection in connections)
    # A rule reads the spikes of both ends in every step, and its weights take part in the next one: a loop.
    graph.add_edges_from((connection.target, connection.source) for connection in connections if connection.plastic)
    condensed = nx.condensation(graph)
    plan = []
    for index in nx.lexicographical_topological_sort(
        condensed, key=lambda i: _first(layers, condensed.nodes[i]["members"])
    ):
        members = condensed.nodes[index]["members"]
        incoming = [connection for connection in connections if connection.target in members]
        inner = frozenset(connection.name for connection in incoming if connection.source in members or connection.STATES)
        names = tuple(name for name in layers if name in members)
        plan.append(
            Component(names, tuple(m.name for m in incoming), inner, stateless=not inner and set(names) <= stateless)
        )
    return plan


def _first(layers: Sequence[str], members: set[str]) -> int:
    return min(layers.index(name) for name in members)
