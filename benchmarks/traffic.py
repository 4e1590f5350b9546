"""Memory traffic: the bytes that a step's ONNX graph reads and writes, against the least that a step can."""

import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import onnx

from deploy_snn.contract import Contract


@dataclass(frozen=True)
class Traffic:
    """Bytes a step: what the nodes read of parameters, what they read and write of all else, and the least possible."""

    parameters: int
    tensors: int
    least: int


def count(path: Path, contract: Contract, batch: int) -> Traffic:
    """Sum the sizes of every node's inputs and outputs in ``step.onnx``, from inferred shapes alone."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_param"):
                axis.dim_value = batch
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    parameters = {tensor.name: _bytes(tensor.data_type, list(tensor.dims)) for tensor in graph.initializer}
    sizes = {
        value.name: _bytes(value.type.tensor_type.elem_type, [axis.dim_value for axis in value.type.tensor_type.shape.dim])
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    touched = [name for node in graph.node for name in (*node.input, *node.output) if name]
    least = [(spec, 2 if spec in contract.states else 1) for spec in contract.tensors]
    return Traffic(
        parameters=sum(parameters.get(name, 0) for name in touched),
        tensors=sum(sizes[name] for name in touched if name not in parameters),
        least=sum(times * prod(spec.shape(batch=batch)) * np.dtype(spec.dtype).itemsize for spec, times in least),
    )


def _bytes(element: int, dims: list[int]) -> int:
    return prod(dims) * onnx.helper.tensor_dtype_to_np_dtype(element).itemsize


def copy_time(n_bytes: int, rounds: int) -> float:
    """Median microseconds in which numpy copies half of ``n_bytes``: it reads that half and writes it, as a step would."""
    source, target = np.ones(n_bytes // 2, np.uint8), np.zeros(n_bytes // 2, np.uint8)
    repeats = max(3, 50_000_000 // n_bytes)
    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for _ in range(repeats):
            np.copyto(target, source)
        times.append((time.perf_counter() - begun) / repeats * 1e6)
    return median(times[1:])
