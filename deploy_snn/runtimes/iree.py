"""IREE on the CPU, compiled when it is loaded, for a CPU without fused multiply-add."""

from typing import Any, ClassVar

import iree.compiler
import iree.runtime
import numpy as np
import onnx
from iree.compiler.extras import onnx_importer
from iree.compiler.ir import Context

from deploy_snn.runtimes.repeated_step import RepeatedStep
from deploy_snn.tensors import Arrays

TARGET = "x86-64-v2"
"""The newest x86-64 level without fused multiply-add, which rounds ``a * b + c`` once instead of twice."""


class Iree(RepeatedStep):
    """``step.onnx`` as a compiled module. IREE flushes denormals to zero."""

    library: ClassVar[str] = "IREE"
    flags: ClassVar[tuple[str, ...]] = (f"--iree-llvmcpu-target-cpu={TARGET}",)

    def load(self, model: onnx.ModelProto) -> None:
        compiled = iree.compiler.compile_str(
            _as_mlir(model), input_type="onnx", target_backends=["llvm-cpu"], extra_args=[*self.flags]
        )
        configuration = iree.runtime.Config("local-sync")
        module = iree.runtime.VmModule.copy_buffer(configuration.vm_instance, compiled)
        self._module = iree.runtime.load_vm_module(module, configuration)
        self._function: Any = self._module[model.graph.name]

    def compute(self, arrays: Arrays) -> Arrays:
        computed = self._function(*(arrays[spec.name] for spec in self.arguments))
        computed = computed if isinstance(computed, tuple) else (computed,)
        return {name: np.array(value.to_host()) for name, value in zip(self.results, computed, strict=True)}


class IreeHost(Iree):
    """IREE compiled for this machine's CPU, with fused multiply-add where the CPU has it."""

    flags: ClassVar[tuple[str, ...]] = ("--iree-llvmcpu-target-cpu=host",)


def _as_mlir(model: onnx.ModelProto) -> str:
    info = onnx_importer.ModelInfo(onnx.shape_inference.infer_shapes(model, data_prop=True))
    with Context() as context:
        module = info.create_module(context=context).operation
        onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
        return str(module)
