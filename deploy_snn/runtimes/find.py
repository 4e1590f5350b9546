"""Which runtimes there are, and which of them can run here."""

from deploy_snn.bundle import Bundle
from deploy_snn.errors import Unavailable
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes.cuda_libraries import missing_cuda_library
from deploy_snn.runtimes.runtime import Runtime

EAGER = "eager"
"""The reference itself."""

INSTALL = {
    "onnxruntime": "install the extra 'cpu' or 'gpu' of deploy-snn (README.md, Install)",
    "onnx": "pip install onnx",
    "torch": "pip install torch",
}


def unavailable_reason(name: str) -> str | None:
    """Why a runtime cannot run on this machine, or None if it can. Imports no runtime."""
    package = RUNTIMES.missing_package(name)
    if package:
        return f"the package {package} is not installed: {INSTALL.get(package, f'pip install {package}')}"
    return missing_cuda_library() if name == "onnxruntime-cuda" else None


def find_runtime(name: str) -> type[Runtime]:
    """A runtime's class, by name. Raises InvalidInput with the names, and Unavailable with what this machine lacks."""
    RUNTIMES.entry(name)
    reason = unavailable_reason(name)
    if reason:
        raise Unavailable(f"{name} cannot run here: {reason}")
    found: type[Runtime] = RUNTIMES[name]
    return found


def usable_runtimes(bundle: Bundle) -> list[str]:
    """The runtimes that can run here and whose files the bundle holds, but for eager, the reference itself."""
    return [
        name
        for name in RUNTIMES
        if name != EAGER and not unavailable_reason(name) and set(RUNTIMES[name].files) <= bundle.manifest.files.keys()
    ]
