"""Which tensors must have equal bits on every runtime, and which may differ because the contract names a rounding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy_snn.contract import Contract, Kind, Operation, Role, Rounding, TensorSpec
from deploy_snn.program import Program
from deploy_snn.structure import Structure

FROM_SPIKES = frozenset({Kind.COUNTER, Kind.PREVIOUS, Kind.THRESHOLD, Kind.TRACE})
"""States of a spiking layer that depend on its spikes only, so they stay exact if its drive is rounded."""


@dataclass(frozen=True)
class Link:
    """A connection: its name, and the layers at its ends."""

    name: str
    source: str
    target: str


def links_of(source: Program | Structure | None) -> tuple[Link, ...] | None:
    """The connections of a program or of its structure; None if they are not known."""
    if source is None:
        return None
    if isinstance(source, Structure):
        return tuple(Link(f"{c.source}_to_{c.target}", c.source, c.target) for c in source.connections)
    return tuple(Link(c.name, c.source, c.target) for c in getattr(source, "connections", ()))


def rounded_tensors(contract: Contract, links: Iterable[Link] | None) -> frozenset[str]:
    """The names of the float outputs and states that a rounding of the contract can reach. All others are exact.

    A rounded drive reaches the potentials of its layer. Spikes end its path, because they are compared exactly; numbers of
    a graded layer carry it on. Without ``links``, every float tensor counts as reached by any rounding of a float.
    """
    if not contract.rounding:
        return frozenset()
    floats = [spec for spec in (*contract.outputs, *contract.states) if spec.dtype != "bool"]
    everything = frozenset(spec.name for spec in floats)
    specs = {spec.name: spec for spec in contract.tensors}
    known = {link.name: link for link in links or ()}
    reached: set[str] = set()
    undeclared: set[str] = set()
    for rounding in contract.rounding:
        spec = specs.get(rounding.tensor)
        if spec is not None and spec.dtype == "bool" and rounding.operation is not Operation.UNKNOWN:
            continue  # the comparison itself: floats that follow from equal spikes are exact
        if spec is None and rounding.tensor not in known:
            return everything
        owner = known[rounding.tensor].name if spec is None else spec.owner
        if rounding.operation is Operation.UNKNOWN:
            undeclared.add(owner)
        reached |= _reach(contract, owner, known)
    if links is None and reached:
        return everything
    spiking = _spiking(contract)
    return frozenset(
        spec.name
        for spec in floats
        if spec.owner in reached
        and not (spec.owner in spiking and spec.owner not in undeclared and spec.kind in FROM_SPIKES)
    )


def _spiking(contract: Contract) -> set[str]:
    return {spec.owner for spec in contract.outputs if spec.role is Role.SPIKES}


def _reach(contract: Contract, owner: str, links: Mapping[str, Link]) -> set[str]:
    """The layers and connections that a rounding in ``owner`` reaches."""
    spiking, found, waiting = _spiking(contract), set[str](), [owner]
    while waiting:
        now = waiting.pop()
        if now in found:
            continue
        found.add(now)
        if now in links:
            waiting.append(links[now].target)
        elif now not in spiking:
            waiting += [link.name for link in links.values() if link.source == now]
    return found


def roundings_of(contract: Contract, links: Iterable[Link] | None, spec: TensorSpec) -> tuple[Rounding, ...]:
    """The roundings of the contract that can reach the layer of a tensor."""
    known = {link.name: link for link in links or ()}
    specs = {other.name: other for other in contract.tensors}
    found = []
    for rounding in contract.rounding:
        named = specs.get(rounding.tensor)
        unknown = named is None and rounding.tensor not in known
        owner = rounding.tensor if named is None else named.owner
        if unknown or links is None or spec.owner in _reach(contract, owner, known):
            found.append(rounding)
    return tuple(found)
