"""Distances between float32 numbers in units in the last place."""

import numpy as np
from numpy.typing import NDArray


def ordinal(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Map float32 values to integers in the same order: neighbours differ by 1, and both zeros map to 0."""
    bits = np.asarray(values, np.float32, order="C").view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def from_ordinal(ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
    """Map integers back to float32 values: the inverse of ``ordinal``."""
    bits = np.where(ordinals < 0, -ordinals | 0x80000000, ordinals)
    return bits.astype(np.uint32).view(np.float32)


def ulps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of float32 steps from ``b`` to ``a``; negative if ``a`` is smaller."""
    return ordinal(a) - ordinal(b)
