"""OpenVINO on the CPU: with the settings that make it exact, and with its own defaults."""

from typing import Any, ClassVar

import numpy as np
import onnx
import openvino
from onnx import helper, numpy_helper

from deploy_snn.runtimes.repeated_step import RepeatedStep
from deploy_snn.tensors import Arrays

EXACT: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on CPUs that have it
    "CPU_DENORMALS_OPTIMIZATION": False,
    "SNIPPETS_MODE": "DISABLE",  # its compiler of elementwise operators fuses multiply and add
}

WEIGHTS = {"MatMul", "Gemm", "Conv", "Gather", "GatherElements"}
"""Operators that need their constants: a sum of products is as exact as its weights, and an index is no number to fold."""


class OpenVinoDefault(RepeatedStep):
    """OpenVINO as people get it. It computes in bfloat16 on CPUs that have it, and folds constants into each other."""

    library: ClassVar[str] = "OpenVINO"
    options: ClassVar[dict[str, Any]] = {}

    def load(self, model: onnx.ModelProto) -> None:
        core = openvino.Core()
        self._compiled = core.compile_model(
            core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_NUM_THREADS": 1, **self.options}
        )
        self._request = self._compiled.create_infer_request()
        self._places = [
            next(place for place, result in enumerate(self._compiled.outputs) if name in result.names)
            for name in self.results
        ]

    def compute(self, arrays: Arrays) -> Arrays:
        self._request.infer(arrays, share_inputs=True)
        return {
            name: self._request.get_output_tensor(place).data
            for name, place in zip(self.results, self._places, strict=True)
        }


class OpenVino(OpenVinoDefault):
    """OpenVINO in float32, with the parameters as inputs of the graph, so that it cannot re-associate them."""

    options: ClassVar[dict[str, Any]] = EXACT

    def load(self, model: onnx.ModelProto) -> None:
        parameters = parameters_as_inputs(model)
        super().load(model)
        for name, array in parameters.items():
            self._request.set_tensor(name, openvino.Tensor(array))


def parameters_as_inputs(model: onnx.ModelProto) -> Arrays:
    """Turn the float constants of a graph, but not its weights, into inputs. Returns their values by name."""
    graph = model.graph
    weights = {name for node in graph.node if node.op_type in WEIGHTS for name in node.input}
    moved = [
        tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in weights
    ]
    for tensor in moved:
        graph.initializer.remove(tensor)
        graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in moved}
