"""Check whether ONNX Runtime's CUDA provider can load its libraries. ONNX Runtime is imported only if this is possible."""

import ctypes
import io
from contextlib import redirect_stdout
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROVIDER = "libonnxruntime_providers_cuda.so"


@cache
def missing_cuda_library() -> str | None:
    """The reason why the CUDA provider cannot be loaded, naming the first missing library; None if it can."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return "the package onnxruntime is not installed: install the extra 'gpu' of deploy-snn (README.md, Install)"
    provider = Path(spec.origin).parent / "capi" / PROVIDER
    if not provider.is_file():
        return "this onnxruntime is built without CUDA: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    try:
        ctypes.CDLL("libcuda.so.1")  # from the driver
        import onnxruntime as ort  # noqa: PLC0415

        # The CUDA libraries from the wheels that torch depends on. It prints what it does not find on stdout, which belongs
        # to the caller; the provider itself names a missing library in the next line.
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls()
        ctypes.CDLL(str(provider))
    except OSError as error:
        return f"a library of the CUDA provider could not be loaded: {error}"
    return None
