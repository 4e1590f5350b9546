"""Check whether torch can use CUDA. Torch is imported only if this is possible."""

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LIBRARY = "libtorch_cuda.so"


@cache
def missing_torch_cuda() -> str | None:
    """The reason why torch cannot use CUDA here, or None if it can."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "the package torch is not installed: pip install torch"
    if not (Path(spec.origin).parent / "lib" / LIBRARY).is_file():
        return "this torch is built without CUDA: install one of the CUDA builds of https://pytorch.org"
    try:
        ctypes.CDLL("libcuda.so.1")  # from the driver
    except OSError as error:
        return f"the CUDA driver could not be loaded: {error}"
    import torch  # noqa: PLC0415

    return None if torch.cuda.is_available() else "torch finds no CUDA device"
