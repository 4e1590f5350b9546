"""Switch TF32 off in torch, so that CUDA multiplies float32 numbers as every other runtime does."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Run with full float32 precision in cuBLAS (matrix products) and cuDNN (convolutions), whose default is TF32.

    The settings belong to the whole process, so the caller's are restored.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
