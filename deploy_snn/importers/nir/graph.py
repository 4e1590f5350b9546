"""A flattened NIR graph: nodes with dynamics, and between them routes of linear nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.links import LINKS
from deploy_snn.importers.nir.neurons import CLASSES

if TYPE_CHECKING:
    from nir import NIRGraph, NIRNode

Edges = tuple[tuple[str, str], ...]
INNER = "\0"
"""Separates the name of an inner graph from that of a node in it; no name in a file contains it."""


def shown(name: str) -> str:
    """A node's name as it is shown to users."""
    return name.replace(INNER, ".")


def arrow(*names: str) -> str:
    """Nodes one after the other."""
    return " -> ".join(map(shown, names))


@dataclass(frozen=True)
class Route:
    """One way into a node: from a node with dynamics or a junction, through linear nodes in order."""

    source: "str | Junction"
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Junction:
    """The sum in front of a linear node that has several incoming edges."""

    node: str
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Flat:
    """A graph without inner graphs, whose inputs and outputs remain as nodes that pass values on unchanged."""

    nodes: Mapping[str, "NIRNode"]
    edges: Edges

    @classmethod
    def of(cls, graph: "NIRGraph") -> "Flat":
        """Flatten a graph. Raises InvalidInput for an edge without an end, and for a graph without inputs."""
        nodes, edges = _flattened(graph, "")
        for edge in edges:
            for end in edge:
                if end not in nodes:
                    raise InvalidInput(f"the edge {arrow(*edge)} leads to or from an unknown node '{shown(end)}'")
        flat = cls(nodes, tuple(dict.fromkeys(edges)))
        if not flat.inputs:
            raise InvalidInput("the graph has no Input node")
        for source, target in flat.edges:
            if target in flat.inputs or source in flat.outputs:
                raise InvalidInput(f"the edge {arrow(source, target)} goes into an input of the graph, or out of an output")
        return flat

    @property
    def inputs(self) -> list[str]:
        return self._tops("Input")

    @property
    def outputs(self) -> list[str]:
        return self._tops("Output")

    @property
    def dynamic(self) -> list[str]:
        """The nodes that become layers of neurons: the graph's inputs, and all that have dynamics."""
        return [*self.inputs, *(name for name, node in self.nodes.items() if type(node).__name__ in CLASSES)]

    def _tops(self, kind: str) -> list[str]:
        return [name for name, node in self.nodes.items() if type(node).__name__ == kind and INNER not in name]

    def before(self, name: str) -> list[str]:
        return [source for source, target in self.edges if target == name]

    def after(self, name: str) -> list[str]:
        return [target for source, target in self.edges if source == name]

    def is_link(self, name: str) -> bool:
        return type(self.nodes[name]).__name__ in LINKS

    def is_place(self, name: str) -> bool:
        """Whether a node passes values on unchanged: the input or output of an inner graph."""
        return type(self.nodes[name]).__name__ in ("Input", "Output") and name not in self.inputs

    def first_consumers(self, name: str) -> list[str]:
        """The nodes that first use this node's values, past nodes that pass them on unchanged."""
        found: list[str] = []
        for target in self.after(name):
            found += self.first_consumers(target) if self.is_place(target) else [target]
        return found

    def routes(self, name: str, passed: tuple[str, ...] = ()) -> tuple[Route, ...]:
        """All routes into a node. Raises InvalidInput for a loop of linear nodes, and for a node without incoming edges."""
        dynamic = set(self.dynamic)
        found: list[Route] = []
        for source in self.before(name):
            if source in passed:
                loop = arrow(source, *reversed(passed[passed.index(source) :]))
                raise InvalidInput(f"a loop without neurons: {loop}")
            if source in dynamic:
                found.append(Route(source))
            elif self.is_place(source):
                found += self.routes(source, (*passed, source))
            else:
                found.append(self._through(source, self.routes(source, (*passed, source))))
        if not found and name not in self.inputs:
            raise InvalidInput(f"nothing leads to node '{shown(name)}'")
        return tuple(found)

    def _through(self, link: str, routes: tuple[Route, ...]) -> Route:
        if len(routes) == 1:
            return Route(routes[0].source, (*routes[0].links, link))
        return Route(Junction(link, routes), (link,))

    def order(self, first: list[str], incoming: Mapping[str, tuple[Route, ...]]) -> list[str]:
        """Sort the nodes so that each comes after its sources, except for edges that close a loop.

        ``first`` are the nodes that read only values of the previous step.
        """
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.dynamic)
        for name, routes in incoming.items():
            if name in graph and name not in first:
                graph.add_edges_from((source, name) for route in routes for source in ends(route))
        graph.add_edges_from(("", name) for name in (*reversed(self.inputs), *first, *self.dynamic))
        order = list(reversed(list(nx.dfs_postorder_nodes(graph, ""))))
        return [*first, *(name for name in order if name and name not in first)]


def ends(route: Route) -> list[str]:
    """The nodes with dynamics at the beginning of a route."""
    if isinstance(route.source, str):
        return [route.source]
    return [end for inner in route.source.routes for end in ends(inner)]


def links_on(route: Route) -> set[str]:
    """The linear nodes on a route."""
    inner = () if isinstance(route.source, str) else route.source.routes
    return set(route.links).union(*(links_on(other) for other in inner))


def _flattened(graph: "NIRGraph", prefix: str) -> tuple[dict[str, "NIRNode"], list[tuple[str, str]]]:
    nodes: dict[str, NIRNode] = {}
    edges: list[tuple[str, str]] = []
    doors: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[prefix + name] = node
            continue
        inner = prefix + name + INNER
        inside, joined = _flattened(node, inner)
        nodes |= inside
        edges += joined
        doors[name] = _door(node, inner, name, "Input"), _door(node, inner, name, "Output")
    for source, target in graph.edges:
        leaves = doors[source][1] if source in doors else prefix + source
        enters = doors[target][0] if target in doors else prefix + target
        edges.append((leaves, enters))
    return nodes, edges


def _door(graph: "NIRGraph", prefix: str, name: str, kind: str) -> str:
    found = [inner for inner, node in graph.nodes.items() if type(node).__name__ == kind]
    if len(found) != 1:
        raise InvalidInput(f"the inner graph '{name}' has {len(found)} {kind} nodes, and an edge can only mean one")
    (only,) = found
    return f"{prefix}{only}"
