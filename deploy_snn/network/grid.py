"""Weights on a dyadic grid, so that every sum is exact in float32 and all runtimes compute the same bits.

A float32 can represent every multiple of 2**-bits up to 2**(24 - bits). If the weights of a target neuron cannot sum to
more than that, no addition rounds, and the order of addition does not matter.
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
    """How much rounding to the grid changed the weights of one connection."""

    connection: str
    bits: int
    largest_change: float
    changed: int
    weights: int


def is_exact(connection: Connection, *, graded: bool = False) -> bool:
    """Whether all runtimes compute the same bits for a connection that transmits spikes or, if ``graded``, numbers.

    True only if the class declares it, and if no subclass has replaced the declared equations.
    """
    if connection.plastic:  # learning leaves every grid
        return False
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
    return float(sums.max()) <= _exact_limit(bits)


def snap_weights(connections: Iterable[Connection], bits: int) -> tuple[SnappedWeights, ...]:
    """Round the weights of all connections with sums to multiples of ``2**-bits``, in place.

    Raises InvalidInput, with the numbers, if the sums of a target neuron would not be exact. Then no weight has changed.
    """
    if not 0 <= bits <= FINEST:
        raise InvalidInput(f"bits={bits}: expected 0 to {FINEST}")
    connections = list(connections)
    summing = [connection for connection in connections if connection.summed_weights()]
    for connection in connections:
        if connection not in summing and not is_exact(connection):
            raise InvalidInput(
                f"connection {connection.name} ({type(connection).__name__}) cannot be exact: "
                "its class does not declare summed_weights"
            )
    original = {connection.name: [w.clone() for w in connection.summed_weights()] for connection in summing}
    try:
        return tuple(_snap(connection, original[connection.name], bits) for connection in summing)
    except InvalidInput:
        for connection in summing:
            for w, value in zip(connection.summed_weights(), original[connection.name], strict=True):
                w.copy_(value)
        raise


def _snap(connection: Connection, original: list[Tensor], bits: int) -> SnappedWeights:
    largest_sum = _round(connection, original, bits)
    if largest_sum > _exact_limit(bits):
        fewer_bits = next((b for b in range(bits - 1, -1, -1) if _round(connection, original, b) <= _exact_limit(b)), None)
        raise InvalidInput(
            f"bits={bits}: the weights of {connection.name} sum to {largest_sum:g} for one target neuron, "
            f"but float32 holds multiples of 2**-{bits} exactly only up to {_exact_limit(bits):g}: "
            + ("the weights are too large" if fewer_bits is None else f"use {fewer_bits} bits or fewer")
        )
    changes = [(w - value).abs() for w, value in zip(connection.summed_weights(), original, strict=True)]
    return SnappedWeights(
        connection=connection.name,
        bits=bits,
        largest_change=max(float(change.max()) for change in changes),
        changed=sum(int((change > 0).sum()) for change in changes),
        weights=sum(change.numel() for change in changes),
    )


def _round(connection: Connection, original: list[Tensor], bits: int) -> float:
    """Set a connection's weights to the original ones, rounded. Returns the largest absolute sum."""
    for w, value in zip(connection.summed_weights(), original, strict=True):
        w.copy_(torch.round(value.double() * 2.0**bits) / 2.0**bits)
    sums = connection.largest_sums()
    if sums is None:
        raise InvalidInput(f"connection {connection.name} ({type(connection).__name__}) does not declare largest_sums")
    return float(sums.max())


def _exact_limit(bits: int) -> float:
    """The largest number up to which float32 can represent every multiple of 2**-bits."""
    return 2.0 ** (MANTISSA - bits)


def _on_grid(w: Tensor, bits: int) -> bool:
    scaled = w.double() * 2.0**bits
    return bool((scaled == scaled.round()).all())
