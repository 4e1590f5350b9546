"""LiteRT, formerly TensorFlow Lite, on the CPU. The model is converted by onnx2tf when it is loaded."""

from typing import Any, ClassVar

import onnx
from ai_edge_litert.interpreter import Interpreter

from deploy_snn.contract import TensorSpec
from deploy_snn.runtimes.onnx2tf import convert
from deploy_snn.runtimes.repeated_step import RepeatedStep
from deploy_snn.tensors import Array, Arrays


class LiteRt(RepeatedStep):
    """``step.onnx`` as a ``.tflite`` file, one for each batch size. Tensors are addressed by name."""

    library: ClassVar[str] = "LiteRT"
    flags: ClassVar[tuple[str, ...]] = ("onnx2tf -nuo -kat INPUTS",)

    def load(self, model: onnx.ModelProto) -> None:
        self._copies = take_copies(model)
        self._model = model
        self._opened: dict[int, _Converted] = {}
        self._open(1)

    def compute(self, arrays: Arrays) -> Arrays:
        first = self.contract.inputs[0]
        converted = self._open(arrays[first.name].shape[first.batch_axis or 0])
        found = converted.run(arrays)
        return found | {name: (found | arrays)[source] for name, source in self._copies.items()}

    def _open(self, batch: int) -> "_Converted":
        if batch not in self._opened:
            model = with_batch(self._model, batch).SerializeToString()
            data = convert(model, [spec.name for spec in self.arguments])
            results = {name: spec for name, spec in self.results.items() if name not in self._copies}
            arguments = {spec.name: spec for spec in self.arguments}
            self._opened[batch] = _Converted(data, arguments, results, batch)
        return self._opened[batch]


class _Converted:
    """An interpreter for one batch size, with the places of its tensors by name."""

    def __init__(self, data: bytes, arguments: dict[str, TensorSpec], results: dict[str, TensorSpec], batch: int) -> None:
        self._interpreter: Any = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        signature = self._interpreter.get_signature_runner()
        self.inputs = _places("input", arguments, signature.get_input_details(), batch)
        self.outputs = _places("output", results, signature.get_output_details(), batch)

    def run(self, arrays: Arrays) -> Arrays:
        for name, place in self.inputs.items():
            self._interpreter.set_tensor(place, arrays[name])
        self._interpreter.invoke()
        return {name: self._get(place) for name, place in self.outputs.items()}

    def _get(self, place: int) -> Array:
        copied: Array = self._interpreter.get_tensor(place)
        return copied


def _places(kind: str, specs: dict[str, TensorSpec], details: dict[str, Any], batch: int) -> dict[str, int]:
    """The place of each tensor. The names of the signature, the tensors' own names and the shapes must all fit.

    Raises RuntimeError for a file that onnx2tf converted to other names, or to another order of axes.
    """
    if details.keys() != specs.keys():
        raise RuntimeError(f"onnx2tf wrote the {kind}s {', '.join(sorted(details))} instead of {', '.join(sorted(specs))}")
    for name, spec in specs.items():
        found, shape = details[name], spec.shape(batch=batch)
        if found["name"] != name:
            raise RuntimeError(f"onnx2tf wrote the {kind} '{name}' to the tensor '{found['name']}'")
        if tuple(found["shape"]) != shape:
            raise RuntimeError(
                f"onnx2tf wrote the {kind} '{name}' as {found['shape'].tolist()} instead of {list(shape)}: "
                "other sizes, or another order of axes"
            )
    return {name: int(details[name]["index"]) for name in specs}


def with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy of a graph whose inputs and outputs have this batch size. onnx2tf writes 1 into some operators otherwise."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in (*fixed.graph.input, *fixed.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.WhichOneof("value") != "dim_value":
                axis.dim_value = batch
    return fixed


def take_copies(model: onnx.ModelProto) -> dict[str, str]:
    """Remove the outputs that an Identity copies from another result or an input; onnx2tf leaves them without data.

    Returns the source of each.
    """
    graph = model.graph
    named = {value.name for value in (*graph.input, *graph.output)}
    copies = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in named and node.input[0] in named
    }
    for node in [node for node in graph.node if node.op_type == "Identity" and node.output[0] in copies]:
        graph.node.remove(node)
    for value in [value for value in graph.output if value.name in copies]:
        graph.output.remove(value)
    return {name: _origin(name, copies) for name in copies}


def _origin(name: str, copies: dict[str, str]) -> str:
    while name in copies:
        name = copies[name]
    return name
