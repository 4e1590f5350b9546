"""Weights on a dyadic grid as small integers, wherever the sums have the same bits as in float32."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deploy_snn.compiled.loops import NUMPY, Type

FINEST = 24
EXACT = 2**24
"""Up to this size a float32 holds every integer, so that the sum converts without rounding. An int32 holds it too."""


@dataclass(frozen=True)
class IntegerWeights:
    """``weights = values * scale``, where ``scale`` is a power of two."""

    type: Type
    values: NDArray[np.integer]
    scale: float


def integer_weights(w: Tensor, largest_sum: float) -> IntegerWeights | None:
    """The weights as the smallest integer type that holds them, or None if integers would not give the same bits.

    Args:
        w: weights.
        largest_sum: the largest absolute sum of weights that one target can receive.
    """
    wide = w.double()
    for bits in range(-FINEST, FINEST + 1):
        scaled = wide * 2.0**bits
        if not bool((scaled == scaled.round()).all()):
            continue
        largest = float(scaled.abs().max()) if w.numel() else 0.0
        found = next((t for t in (Type.INT8, Type.INT16) if largest <= np.iinfo(NUMPY[t]).max), None)
        if found is None or largest_sum * 2.0**bits > EXACT:
            return None
        values = scaled.to(torch.int64).numpy().astype(NUMPY[found])
        return IntegerWeights(found, values, 2.0**-bits)
    return None
