"""Find a runtime by name, and check which runtimes can run on this machine."""

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import NO_COMPILER, find_compiler
from deploy_snn.errors import Unavailable
from deploy_snn.ort_headers import MISSING, find_ort_headers
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes.carried_library import carried_library
from deploy_snn.runtimes.cuda_libraries import missing_cuda_library
from deploy_snn.runtimes.onnx2tf import NO_ONNX2TF, find_onnx2tf
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.runtimes.torch_cuda import missing_torch_cuda

BUILT_HERE = ("c", "onnxruntime-custom", "torchscript-custom")
"""The runtimes that need a C compiler."""

EAGER = "eager"
"""The name of the reference runtime."""

ONNX = "onnxruntime-cpu"

INSTALL = {
    "onnxruntime": "install the extra 'cpu' or 'gpu' of deploy-snn (README.md, Install)",
    "onnx": "pip install onnx",
    "torch": "pip install torch",
    "iree": "pip install iree-base-compiler iree-base-runtime",
    "MNN": "pip install MNN",
    "ai_edge_litert": "pip install ai-edge-litert",
    "wasmtime": "install the extra 'wasm' of deploy-snn (README.md, Install)",
}


def unavailable_reason(name: str, bundle: Bundle | None = None) -> str | None:
    """The reason why a runtime cannot run on this machine, or None if it can. Does not import the runtime.

    ``bundle`` is what it shall run: a bundle that carries a compiled library for this CPU needs no compiler here.
    """
    package = RUNTIMES.missing_package(name)
    if package:
        return f"the package {package} is not installed: {INSTALL.get(package, f'pip install {package}')}"
    if name in BUILT_HERE and find_compiler() is None:
        return None if name == "c" and bundle is not None and carried_library(bundle) else NO_COMPILER
    if name == "onnxruntime-custom" and find_ort_headers() is None:
        return f"the headers of ONNX Runtime were not found: {MISSING}"
    entry = RUNTIMES.entry(name)
    if "ai_edge_litert" in entry.needs and find_onnx2tf() is None:
        return NO_ONNX2TF
    if not entry.cuda:
        return None
    return missing_torch_cuda() if "torch" in entry.needs else missing_cuda_library()


def find_runtime(name: str, bundle: Bundle | None = None) -> type[Runtime]:
    """Return the class of a runtime, to run this bundle.

    Raises InvalidInput, with the known names, for an unknown name. Raises Unavailable, with the reason, if it cannot run
    here.
    """
    RUNTIMES.entry(name)
    reason = unavailable_reason(name, bundle)
    if reason:
        raise Unavailable(f"{name} cannot run here: {reason}")
    found: type[Runtime] = RUNTIMES[name]
    return found


def default_runtimes() -> list[str]:
    """The runtimes that are compared unless others are named: not eager, the reference, nor those known to be inexact."""
    return [name for name in RUNTIMES if name != EAGER and not RUNTIMES.entry(name).on_request]


def usable_runtimes(bundle: Bundle) -> list[str]:
    """The default runtimes that can run here and whose files are in the bundle."""
    return [
        name
        for name in default_runtimes()
        if not unavailable_reason(name, bundle) and set(RUNTIMES[name].files) <= bundle.manifest.files.keys()
    ]


def fastest_runtime(bundle: Bundle) -> str:
    """The runtime to serve a bundle with: compiled C if the bundle has it and it can run here, else ONNX Runtime."""
    compiled = set(RUNTIMES["c"].files) <= bundle.manifest.files.keys() and not unavailable_reason("c", bundle)
    return "c" if compiled else ONNX
