"""The stimulus "digits": the handwritten digits of scikit-learn, Poisson-encoded."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deploy_snn.errors import Unavailable
from deploy_snn.tensors import Array

STEPS_PER_DIGIT = 100
MAX_RATE = 0.5
"""The spike probability per step at the brightest pixel."""


def digit_spikes(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Random digits as spikes ``[T, B, *shape]``, each shown for ``STEPS_PER_DIGIT`` steps.

    The 8 x 8 images (Alpaydin & Kaynak 1998) are resized to the shape by nearest neighbour. Raises Unavailable if
    scikit-learn is not installed.
    """
    steps, batch, *size = shape
    images = load_images()
    shown = rng.integers(len(images), size=(-(-steps // STEPS_PER_DIGIT), batch))
    pixels = resize(images, tuple(size))[shown].repeat(STEPS_PER_DIGIT, axis=0)[:steps]
    return (rng.random(shape) < MAX_RATE * pixels).astype(np.float32)


def load_images() -> NDArray[np.float32]:
    """The 1797 images, ``[1797, 8, 8]``, between 0 and 1."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError:
        raise Unavailable(
            "the stimulus digits needs scikit-learn, which is not installed: "
            "install the extra 'digits' of deploy-snn (in its folder: pip install '.[digits]')"
        ) from None
    images: NDArray[np.float64] = load_digits().images
    return (images / 16).astype(np.float32)


def resize(images: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize images ``[K, 8, 8]`` to ``[K, *shape]`` by nearest neighbour: the last two axes, or all 64 pixels in a row."""
    if len(shape) == 1:
        return images.reshape(len(images), -1)[:, np.arange(shape[0]) * images[0].size // shape[0]]
    *outer, height, width = shape
    rows, columns = (np.arange(n) * m // n for n, m in ((height, images.shape[1]), (width, images.shape[2])))
    small = images[:, rows][:, :, columns]
    return np.broadcast_to(small.reshape(len(images), *(1 for _ in outer), height, width), (len(images), *shape))
