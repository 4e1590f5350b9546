"""Rewriting of a flat NIR graph for writers whose neurons do not correspond to one NIR node."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.graph import INNER, Flat, arrow

if TYPE_CHECKING:
    from nir import NIRNode

MEMBRANES: dict[str, tuple[str, tuple[str, ...]]] = {
    "IF": ("I", ("r",)),
    "LIF": ("LI", ("tau", "r", "v_leak")),
    "CubaLIF": ("CubaLI", ("tau_syn", "tau_mem", "r", "v_leak", "w_in")),
}
"""The node without a threshold that is the membrane of a firing node, and its parameters."""


def firing(flat: Flat) -> list[str]:
    """The nodes that fire and reset."""
    return [name for name, node in flat.nodes.items() if type(node).__name__ in MEMBRANES]


def without_reset(flat: Flat, names: Iterable[str]) -> Flat:
    """Split firing nodes into a membrane and a threshold, so that a spike changes no potential."""
    import nir  # noqa: PLC0415

    chosen = set(names)
    nodes: dict[str, NIRNode] = {}
    for name, node in flat.nodes.items():
        if name not in chosen:
            nodes[name] = node
            continue
        kind, parameters = MEMBRANES[type(node).__name__]
        nodes[_membrane(name)] = getattr(nir, kind)(**{parameter: getattr(node, parameter) for parameter in parameters})
        nodes[name] = nir.Threshold(np.asarray(vars(node)["v_threshold"]))
    edges = [(source, _membrane(target) if target in chosen else target) for source, target in flat.edges]
    return replace(flat, nodes=nodes, edges=(*edges, *((_membrane(name), name) for name in flat.nodes if name in chosen)))


def one_step_late(flat: Flat, seconds: float) -> Flat:
    """Delay the spikes of firing nodes to other nodes by one step. The graph's outputs get them without delay."""
    import nir  # noqa: PLC0415

    late = {name: f"{name}{INNER}late" for name in firing(flat) if set(flat.after(name)) - set(flat.outputs)}
    nodes = dict(flat.nodes) | {delay: nir.Delay(np.array(seconds)) for delay in late.values()}
    edges = [
        (late[source] if source in late and target not in flat.outputs else source, target) for source, target in flat.edges
    ]
    return replace(flat, nodes=nodes, edges=(*edges, *late.items()))


def refuse_spyx_loops(flat: Flat) -> None:
    """Raise InvalidInput for a recurrent layer of spyx, whose file has the layer's input at the recurrent weights."""
    graph: nx.DiGraph[str] = nx.DiGraph(flat.edges)
    if not nx.is_directed_acyclic_graph(graph):
        loop = [source for source, _ in nx.find_cycle(graph)]
        raise InvalidInput(
            f"the loop {arrow(*loop, loop[0])}: spyx leads the input of a recurrent layer through its recurrent weights "
            "and not to its neurons, so that the file is another network than the trained one; it cannot be repaired"
        )


def refuse_spyx_images(flat: Flat) -> None:
    """Raise InvalidInput if spyx flattens an image: it does so with channels last, but its file says channels first."""
    for name, node in flat.nodes.items():
        if type(node).__name__ != "Flatten":
            continue
        shape = [int(size) for size in np.ravel(node.input_type["input"])]
        if len(shape) > 1 and shape[0] > 1 and max(shape[1:]) > 1:
            raise InvalidInput(
                f"node '{name}' (Flatten) flattens {shape}: spyx does so with the channels last, and the file says first; "
                "the weights behind it are in another order than the file says"
            )


def _membrane(name: str) -> str:
    return f"{name}{INNER}membrane"
