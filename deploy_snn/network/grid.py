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


def is_exact(made: Connection) -> bool:
    """Whether the sums of a connection have the same bits in every order of addition."""
    sums = made.largest_sums()
    if sums is None:
        return True
    weights = summed_weights(made)
    if not all(_on_grid(w, FINEST) for w in weights):
        return False
    bits = FINEST
    while bits > -MANTISSA and all(_on_grid(w, bits - 1) for w in weights):
        bits -= 1
    return float(sums.max()) <= 2.0 ** (MANTISSA - bits)


def snap_weights(connections: Iterable[Connection], bits: int) -> tuple[Snapped, ...]:
    """Round the weights of every one of ``network.connections`` that sums to multiples of ``2**-bits``, in place.

    Raises InvalidInput, with the numbers, where the sums of some target would not be exact.
    """
    done = []
    for made in connections:
        if made.largest_sums() is None:
            continue
        change, changed, count = 0.0, 0, 0
        for w in summed_weights(made):
            grid = torch.round(w.double() * 2.0**bits) / 2.0**bits
            change = max(change, float((grid - w).abs().max()))
            changed += int((grid != w).sum())
            count += w.numel()
            w.copy_(grid)
        sums = made.largest_sums()
        assert sums is not None
        most, room = float(sums.max()), 2.0 ** (MANTISSA - bits)
        if most > room:
            fits = MANTISSA - max(0, int(torch.tensor(most).log2().ceil()))
            raise InvalidInput(
                f"--snap-weights {bits}: the weights of {made.name} sum to {most:g} for one target, and float32 holds "
                f"multiples of 2**-{bits} exactly up to {room:g}: take {fits} bits or fewer"
            )
        done.append(Snapped(connection=made.name, bits=bits, largest_change=change, changed=changed, weights=count))
    return tuple(done)


def summed_weights(made: Connection) -> list[Tensor]:
    """The buffers of a connection that its sums are made of."""
    return [buffer for name, buffer in made.named_buffers() if name in ("w", "b", "fan_in")]


def _on_grid(w: Tensor, bits: int) -> bool:
    scaled = w.double() * 2.0**bits
    return bool((scaled == scaled.round()).all())
