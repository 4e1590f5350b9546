"""Weights on a dyadic grid, so that every sum of them is exact in float32 and all runtimes give the same bits.

A float32 holds every multiple of 2**-bits up to 2**(24 - bits). Where a target's weights cannot sum to more, no addition
rounds, and the order of addition does not matter.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from deploy_snn.contract import Record
from deploy_snn.errors import InvalidInput
from deploy_snn.network.connection import Connection

MANTISSA = 24
FINEST = 24


class Snapped(Record):
    """What snapping did to one connection."""

    connection: str
    bits: int
    largest_change: float
    changed: int
    weights: int


def is_exact(made: Connection, *, graded: bool = False) -> bool:
    """Whether the sums of a connection have the same bits in every order of addition, for spikes or for graded values."""
    if graded and made.adds_up:
        return False
    sums = made.largest_sums()
    if sums is None:
        return True
    weights = summed_weights(made)
    if not all(_on_grid(w, FINEST) for w in weights):
        return False
    bits = FINEST
    while bits > -MANTISSA and all(_on_grid(w, bits - 1) for w in weights):
        bits -= 1
    return float(sums.max()) <= _room(bits)


def snap_weights(connections: Iterable[Connection], bits: int) -> tuple[Snapped, ...]:
    """Round the weights of every one of ``network.connections`` that sums to multiples of ``2**-bits``, in place.

    Raises InvalidInput, with the numbers, where the sums of some target would not be exact; then no weight has changed.
    """
    if not 0 <= bits <= FINEST:
        raise InvalidInput(f"--snap-weights {bits}: expected 0 to {FINEST} bits")
    summing = [made for made in connections if made.largest_sums() is not None]
    before = {made.name: [w.clone() for w in summed_weights(made)] for made in summing}
    try:
        return tuple(_snap(made, before[made.name], bits) for made in summing)
    except InvalidInput:
        for made in summing:
            for w, kept in zip(summed_weights(made), before[made.name], strict=True):
                w.copy_(kept)
        raise


def _snap(made: Connection, given: list[Tensor], bits: int) -> Snapped:
    most = _round(made, given, bits)
    if most > _room(bits):
        fits = next((fewer for fewer in range(bits - 1, -1, -1) if _round(made, given, fewer) <= _room(fewer)), None)
        raise InvalidInput(
            f"--snap-weights {bits}: the weights of {made.name} sum to {most:g} for one target, and float32 holds "
            f"multiples of 2**-{bits} exactly up to {_room(bits):g}: "
            + ("they are too large" if fits is None else f"take {fits} bits or fewer")
        )
    changes = [(w - value).abs() for w, value in zip(summed_weights(made), given, strict=True)]
    return Snapped(
        connection=made.name,
        bits=bits,
        largest_change=max(float(change.max()) for change in changes),
        changed=sum(int((change > 0).sum()) for change in changes),
        weights=sum(change.numel() for change in changes),
    )


def _round(made: Connection, given: list[Tensor], bits: int) -> float:
    """Put the given weights, rounded, into a connection. Gives the largest sum that they can make."""
    for w, value in zip(summed_weights(made), given, strict=True):
        w.copy_(torch.round(value.double() * 2.0**bits) / 2.0**bits)
    sums = made.largest_sums()
    assert sums is not None
    return float(sums.max())


def _room(bits: int) -> float:
    """Up to where float32 holds every multiple of 2**-bits."""
    return 2.0 ** (MANTISSA - bits)


def summed_weights(made: Connection) -> list[Tensor]:
    """The buffers of a connection that its sums are made of."""
    return [buffer for name, buffer in made.named_buffers() if name in ("w", "b", "fan_in")]


def _on_grid(w: Tensor, bits: int) -> bool:
    scaled = w.double() * 2.0**bits
    return bool((scaled == scaled.round()).all())
