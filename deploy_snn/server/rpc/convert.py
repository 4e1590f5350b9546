"""From the messages of an infer call to an infer request, and back from its result."""

import math
from typing import Any

import numpy as np

from deploy_snn.errors import InvalidInput
from deploy_snn.server.decode import decode_parameters
from deploy_snn.server.protocol import DATATYPE_OF_DTYPE, DATATYPES, InferRequest, read_binary
from deploy_snn.server.queue import InferResult
from deploy_snn.server.repository import VERSION
from deploy_snn.server.rpc.messages import message
from deploy_snn.server.schema import MAX_AXES, MAX_TENSORS
from deploy_snn.tensors import Array, Arrays

CONTENTS = {"FP32": "fp32_contents", "BOOL": "bool_contents"}
ModelInferResponse = message("ModelInferResponse")
TRACE_CONTEXT = ("traceparent", "tracestate")
"""The parameters with which a message names its parent span, in W3C trace context."""


def parse_message(asked: Any) -> InferRequest:
    """Convert a ``ModelInferRequest``. Raises InvalidInput for one that does not conform to the protocol."""
    given = {name: _parameter(value) for name, value in asked.parameters.items() if name not in TRACE_CONTEXT}
    parameters = decode_parameters(given)
    if max(len(asked.inputs), len(asked.outputs)) > MAX_TENSORS:
        raise InvalidInput(f"a request has at most {MAX_TENSORS} inputs and outputs")
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise InvalidInput(f"raw_input_contents has {len(raw)} entries for {len(asked.inputs)} inputs")
    inputs: Arrays = {}
    for index, tensor in enumerate(asked.inputs):
        if tensor.name in inputs:
            raise InvalidInput(f"input '{tensor.name}' is given twice")
        inputs[tensor.name] = _parse_tensor(tensor, raw[index] if raw else None)
    return InferRequest(
        id=asked.id,
        inputs=inputs,
        outputs={output.name: True for output in asked.outputs},
        binary=True,
        sequence=parameters.sequence_id or None,
        start=parameters.sequence_start,
        end=parameters.sequence_end,
        seed=parameters.seed,
        step=parameters.sequence_step,
    )


def trace_context(asked: Any) -> dict[str, str]:
    """The trace context of a message, as headers have it; {} if it has none of its own."""
    return {name: asked.parameters[name].string_param for name in TRACE_CONTEXT if name in asked.parameters}


def _parameter(value: Any) -> object:
    """The value of an ``InferParameter``, or None for one without a value."""
    kind = value.WhichOneof("parameter_choice")
    return None if kind is None else getattr(value, kind)


def _parse_tensor(tensor: Any, raw: bytes | None) -> Array:
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    if datatype not in DATATYPES:
        raise InvalidInput(f"input '{name}': unknown datatype {datatype[:20]}; choose from {', '.join(DATATYPES)}")
    if len(shape) > MAX_AXES or not all(0 <= size < 2**31 for size in shape):
        raise InvalidInput(f"input '{name}': expected at most {MAX_AXES} axes, each below 2**31")
    dtype, count = DATATYPES[datatype], math.prod(shape)
    if raw is None:
        raw = np.array(getattr(tensor.contents, CONTENTS[datatype]), dtype).tobytes()
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput(f"input '{name}' has {len(raw)} bytes; {datatype} {list(shape)} takes {count * dtype.itemsize}")
    return read_binary(name, memoryview(raw), dtype, shape)


def render_message(model: str, request: InferRequest, result: InferResult) -> Any:
    """The ``ModelInferResponse`` to a request. Outputs are raw, as Triton's are."""
    answer = ModelInferResponse()
    fill_message(answer, model, request, result)
    return answer


def fill_message(answer: Any, model: str, request: InferRequest, result: InferResult) -> None:
    """Fill an empty ``ModelInferResponse``: what ``render_message`` returns."""
    answer.model_name, answer.model_version = model, VERSION
    if request.id:
        answer.id = request.id
    for name in request.outputs or result.outputs:
        array = result.outputs[name]
        answer.outputs.add(name=name, datatype=DATATYPE_OF_DTYPE[array.dtype], shape=array.shape)
        answer.raw_output_contents.append(array.tobytes())
    if isinstance(request.sequence, int):
        answer.parameters["sequence_id"].uint64_param = request.sequence
    elif request.sequence is not None:
        answer.parameters["sequence_id"].string_param = request.sequence
    if request.sequence is not None:
        answer.parameters["sequence_step"].int64_param = result.steps
