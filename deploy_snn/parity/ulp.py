"""Distances between float32 numbers in units in the last place."""

import numpy as np
from numpy.typing import NDArray


def ordinal(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Number the float32 values in their order: neighbours differ by 1, and both zeros are 0."""
    bits = np.asarray(values, np.float32, order="C").view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def from_ordinal(ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 value with this number."""
    bits = np.where(ordinals < 0, -ordinals | 0x80000000, ordinals)
    return bits.astype(np.uint32).view(np.float32)


def ulps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many float32 steps lie from ``b`` up to ``a``, negative where ``a`` is below."""
    return ordinal(a) - ordinal(b)
