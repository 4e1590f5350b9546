"""The runtimes by name: a new one is a new file and one line here."""

from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.formats import Bundle
from deploy_snn.runtimes.aoti import AotInductor
from deploy_snn.runtimes.onnx_reference import OnnxReference
from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu, OnnxRuntimeCuda
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.runtimes.torch_program import Eager, ExportedProgram, TorchScript

RUNTIMES: dict[str, type[Runtime]] = {
    "eager": Eager,
    "torchscript": TorchScript,
    "pt2": ExportedProgram,
    "aoti": AotInductor,
    "onnxruntime-cpu": OnnxRuntimeCpu,
    "onnxruntime-cuda": OnnxRuntimeCuda,
    "onnx-reference": OnnxReference,
}


def find_runtime(name: str) -> type[Runtime]:
    """A runtime's class, by name. Raises InvalidInput with the names, and Unavailable with what this machine lacks."""
    if name not in RUNTIMES:
        raise InvalidInput(f"there is no runtime '{name}'; there is {', '.join(RUNTIMES)}")
    reason = RUNTIMES[name].unavailable()
    if reason:
        raise Unavailable(f"{name} cannot run here: {reason}")
    return RUNTIMES[name]


def usable_runtimes(bundle: Bundle) -> list[str]:
    """The runtimes that can run here and whose files the bundle holds, but for eager, the reference itself."""
    return [
        name
        for name, runtime in RUNTIMES.items()
        if runtime is not Eager and set(runtime.files) <= bundle.manifest.files.keys() and not runtime.unavailable()
    ]
