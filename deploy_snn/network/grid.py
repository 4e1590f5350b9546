"""Weights on a dyadic grid, so that every sum of them is exact in float32 and all runtimes give the same bits.

A float32 holds every multiple of 2**-bits up to 2**(24 - bits). Where a target's weights cannot sum to more, no addition
rounds, and the order of addition does not matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.network.connection import Connection
from deploy_snn.neurons.nodes import declaration_holds

MANTISSA = 24
FINEST = 24

NOT_EQUATIONS = frozenset({"__init__", "attach", "noise", "resting_state", "shape_error", "summed_weights", "largest_sums"})
"""Methods of a connection that a subclass may define without changing its equations."""


@dataclass(frozen=True)
class SnappedWeights:
    """How far snapping moved the weights of one connection."""

    connection: str
    bits: int
    largest_change: float
    changed: int
    weights: int


def is_exact(connection: Connection, *, graded: bool = False) -> bool:
    """Whether all runtimes compute the same bits for a connection of spikes, or of a graded source's numbers.

    True only where the class proves it, and where no subclass has put other equations in the place of the declared ones.
    """
    cls = type(connection)
    declared = cls.EXACT if declaration_holds(cls, "EXACT", NOT_EQUATIONS) else "never"
    if declared in ("spikes", "always"):
        return declared == "always" or not graded
    sums, weights = connection.largest_sums(), connection.summed_weights()
    if declared == "never" or graded or sums is None or not weights:
        return False
    if not all(_on_grid(w, FINEST) for w in weights):
        return False
    bits = FINEST
    while bits > -MANTISSA and all(_on_grid(w, bits - 1) for w in weights):
        bits -= 1
    return float(sums.max()) <= _room(bits)


def snap_weights(connections: Iterable[Connection], bits: int) -> tuple[SnappedWeights, ...]:
    """Round the weights of every one of ``network.connections`` that sums to multiples of ``2**-bits``, in place.

    Raises InvalidInput, with the numbers, where the sums of some target would not be exact; then no weight has changed.
    """
    if not 0 <= bits <= FINEST:
        raise InvalidInput(f"bits={bits}: expected 0 to {FINEST}")
    connections = list(connections)
    summing = [connection for connection in connections if connection.summed_weights()]
    for connection in connections:
        if connection not in summing and not is_exact(connection):
            raise InvalidInput(
                f"connection {connection.name} ({type(connection).__name__}) declares no summed_weights: no grid makes it exact"
            )
    before = {connection.name: [w.clone() for w in connection.summed_weights()] for connection in summing}
    try:
        return tuple(_snap(connection, before[connection.name], bits) for connection in summing)
    except InvalidInput:
        for connection in summing:
            for w, kept in zip(connection.summed_weights(), before[connection.name], strict=True):
                w.copy_(kept)
        raise


def _snap(connection: Connection, given: list[Tensor], bits: int) -> SnappedWeights:
    most = _round(connection, given, bits)
    if most > _room(bits):
        fits = next((fewer for fewer in range(bits - 1, -1, -1) if _round(connection, given, fewer) <= _room(fewer)), None)
        raise InvalidInput(
            f"bits={bits}: the weights of {connection.name} sum to {most:g} for one target, and float32 holds "
            f"multiples of 2**-{bits} exactly up to {_room(bits):g}: "
            + ("they are too large" if fits is None else f"take {fits} bits or fewer")
        )
    changes = [(w - value).abs() for w, value in zip(connection.summed_weights(), given, strict=True)]
    return SnappedWeights(
        connection=connection.name,
        bits=bits,
        largest_change=max(float(change.max()) for change in changes),
        changed=sum(int((change > 0).sum()) for change in changes),
        weights=sum(change.numel() for change in changes),
    )


def _round(connection: Connection, given: list[Tensor], bits: int) -> float:
    """Put the given weights, rounded, into a connection. Gives the largest sum that they can make."""
    for w, value in zip(connection.summed_weights(), given, strict=True):
        w.copy_(torch.round(value.double() * 2.0**bits) / 2.0**bits)
    sums = connection.largest_sums()
    if sums is None:
        raise InvalidInput(f"connection {connection.name} ({type(connection).__name__}) declares no largest_sums")
    return float(sums.max())


def _room(bits: int) -> float:
    """Up to where float32 holds every multiple of 2**-bits."""
    return 2.0 ** (MANTISSA - bits)


def _on_grid(w: Tensor, bits: int) -> bool:
    scaled = w.double() * 2.0**bits
    return bool((scaled == scaled.round()).all())
