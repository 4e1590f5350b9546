"""Parsing and rendering of the Open Inference Protocol (KServe v2, with Triton's binary and sequence extensions).

https://github.com/kserve/open-inference-protocol. In a body with binary data, the data follow the JSON, whose length is
in the header ``HEADER_LENGTH``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from deploy_snn import __version__
from deploy_snn.contract import Contract, Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.server import decode
from deploy_snn.server.decode import decode_body
from deploy_snn.server.names import SequenceId
from deploy_snn.server.schema import RequestInput, RequestParameters
from deploy_snn.tensors import Array, Arrays

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"FP32": np.dtype("float32"), "BOOL": np.dtype("bool")}
DATATYPE_OF_NAME = {dtype.name: datatype for datatype, dtype in DATATYPES.items()}
DATATYPE_OF_DTYPE = {dtype: datatype for datatype, dtype in DATATYPES.items()}
ENCODER = msgspec.json.Encoder()
MAX_JSON_BYTES, MAX_JSON_ELEMENTS = 16 * 2**20, 2**19
"""Of a request. Values in binary are limited by the size of the body alone."""
MAX_JSON_OUTPUTS = 2**21
"""Elements of outputs that a response has as JSON."""
RENDERED_AT_ONCE = 2**14
"""Elements of an array that are rendered as JSON in one piece. Between pieces, others may run."""


NO_PARAMETERS = RequestParameters()


@dataclass(frozen=True)
class InferRequest:
    """An infer request. ``sequence`` is None for a run without a stream, which starts from the initial state."""

    id: str
    inputs: Arrays
    outputs: dict[str, bool]
    """The requested outputs, and whether each is binary. Empty for all outputs."""
    binary: bool
    """Whether outputs are binary by default."""
    sequence: SequenceId | None
    start: bool
    end: bool
    seed: int | None
    step: int | None = None
    """The number of steps that the client believes the stream to have taken; it is an error if that is wrong."""


def parse_request(body: bytes, header_length: str | None) -> InferRequest:
    """Parse the body of an infer request.

    ``header_length`` is the value of the header of that name: the length of the JSON, if binary data follow it. Raises
    InvalidInput for a body that does not conform to the protocol, or whose JSON is too large.
    """
    length = len(body) if header_length is None else _parse_length(header_length, len(body))
    head, binary_data = (body, memoryview(b"")) if length == len(body) else (body[:length], memoryview(body)[length:])
    # Checked first: a parser holds Python's lock, so that all others would wait for it.
    if length > MAX_JSON_BYTES or head.count(b",") > MAX_JSON_ELEMENTS:
        raise InvalidInput(
            f"the JSON has more than {MAX_JSON_BYTES} bytes or {MAX_JSON_ELEMENTS} elements: send the values in binary"
        )
    request = decode_body(head)
    inputs: Arrays = {}
    for tensor in request.inputs:
        if tensor.name in inputs:
            raise InvalidInput(f"input '{tensor.name}' is given twice")
        inputs[tensor.name], binary_data = _parse_input(tensor, binary_data)
    if len(binary_data):
        raise InvalidInput(f"{len(binary_data)} bytes follow the last binary input")
    parameters = request.parameters or NO_PARAMETERS
    binary = parameters.binary_data_output
    outputs: dict[str, bool] = {}
    for output in request.outputs or ():
        wanted = output.parameters.binary_data if output.parameters else None
        outputs[output.name] = binary if wanted is None else wanted
    return InferRequest(
        id=request.id,
        inputs=inputs,
        outputs=outputs,
        binary=binary,
        sequence=parameters.sequence_id or None,
        start=parameters.sequence_start,
        end=parameters.sequence_end,
        seed=parameters.seed,
        step=parameters.sequence_step,
    )


def render_response(model: str, request: InferRequest, outputs: Arrays, steps: int) -> tuple[bytes, int | None]:
    """Render the body of a response. Returns it with the length of its JSON part, or None if no binary data follow it.

    ``steps`` is the number of steps that the stream has taken. ``outputs`` includes all requested ones.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary)
    tensors: list[dict[str, Any]] = []
    binary_data, is_large = [], False
    for name, binary in wanted.items():
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": DATATYPE_OF_DTYPE[array.dtype], "shape": list(array.shape)}
        if binary:
            binary_data.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(binary_data[-1])}
        elif array.size <= RENDERED_AT_ONCE:
            tensor["data"] = array.ravel().tolist()
        else:
            is_large = True
        tensors.append(tensor)
    response: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if request.id:
        response["id"] = request.id
    if request.sequence is not None:
        response["parameters"] = {"sequence_id": request.sequence, "sequence_step": steps}
    if is_large:
        parts = b",".join(_render_tensor(tensor, outputs[tensor["name"]]) for tensor in tensors)
        rendered = b'%b,"outputs":[%b]}' % (ENCODER.encode(response)[:-1], parts)
    else:
        response["outputs"] = tensors
        rendered = ENCODER.encode(response)
    return (b"".join([rendered, *binary_data]), len(rendered)) if binary_data else (rendered, None)


def _render_tensor(tensor: dict[str, Any], array: Array) -> bytes:
    """An output as JSON; the values of a large one are rendered in pieces."""
    rendered = ENCODER.encode(tensor)
    if "data" in tensor or "parameters" in tensor:
        return rendered
    flat = array.ravel()
    pieces = (flat[begin : begin + RENDERED_AT_ONCE] for begin in range(0, flat.size, RENDERED_AT_ONCE))
    data = b",".join(ENCODER.encode(piece.tolist())[1:-1] for piece in pieces)
    return b'%b,"data":[%b]}' % (rendered[:-1], data)


def read_binary(name: str, data: memoryview, dtype: np.dtype[Any], shape: Iterable[int]) -> Array:
    """Copy a tensor's bytes, as many as its shape needs, to an array. Raises InvalidInput for a BOOL other than 0 and 1."""
    if dtype.kind == "b" and (np.frombuffer(data, np.uint8) > 1).any():
        raise InvalidInput(f"input '{name}' is BOOL and has bytes other than 0 and 1")
    return _reshaped(name, np.frombuffer(data, dtype), tuple(shape)).copy()


def metadata(model: str, platform: str, contract: Contract) -> dict[str, Any]:
    """The metadata of a model: its inputs and outputs in a single step. In a chunk they have a leading time axis."""
    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": _describe(contract.inputs),
        "outputs": _describe(contract.outputs),
        "parameters": {"dt_ms": contract.dt, "contract": contract.model_dump(mode="json")},
    }


def server_metadata() -> dict[str, Any]:
    """The server's name and version, and the extensions of the protocol that it supports."""
    extensions = ["binary_tensor_data", "sequence", "model_repository", "model_configuration", "statistics"]
    return {"name": "deploy_snn", "version": __version__, "extensions": extensions}


def config(model: str, platform: str, contract: Contract) -> dict[str, Any]:
    """The configuration of a model, in Triton's form. Axes include the batch; noise may be left out."""

    def described(spec: TensorSpec) -> dict[str, Any]:
        dims = [-1 if axis.size is None else axis.size for axis in spec.axes]
        return {"name": spec.name, "data_type": f"TYPE_{DATATYPE_OF_NAME[spec.dtype]}", "dims": dims}

    return {
        "name": model,
        "platform": platform,
        "backend": "deploy_snn",
        "max_batch_size": 0,
        "input": [described(spec) | {"optional": spec.role is Role.NOISE} for spec in contract.inputs],
        "output": [described(spec) for spec in contract.outputs],
    }


def _describe(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "datatype": DATATYPE_OF_NAME[spec.dtype],
            "shape": [-1 if axis.size is None else axis.size for axis in spec.axes],
        }
        for spec in specs
    ]


def _parse_length(text: str, body_length: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > body_length:
        raise InvalidInput(
            f"{HEADER_LENGTH}: {text[:20]}: expected the length of the JSON, at most the {body_length} bytes of the body"
        )
    return int(text)


def _parse_input(tensor: RequestInput | decode.RequestInput, binary_data: memoryview) -> tuple[Array, memoryview]:
    """Convert one input to an array. Returns it with the binary data of the inputs after it."""
    name, datatype, shape = tensor.name, tensor.datatype, tensor.shape
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    dtype, count = DATATYPES[datatype], math.prod(shape)
    if size is not None:
        if size != count * dtype.itemsize or size > len(binary_data):
            raise InvalidInput(
                f"input '{name}': binary_data_size is {size}, but {datatype} {shape} takes {count * dtype.itemsize} bytes "
                f"and the body has {len(binary_data)} bytes left"
            )
        return read_binary(name, binary_data[:size], dtype, shape), binary_data[size:]
    array = _parse_data(tensor.data, dtype)
    if array is None:
        raise InvalidInput(f"input '{name}': data: expected numbers for {datatype}, flat or nested as its shape {shape}")
    if array.size != count:
        raise InvalidInput(f"input '{name}' has {array.size} elements; shape {shape} takes {count}")
    return _reshaped(name, array, tuple(shape)), binary_data


def _reshaped(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return array.reshape(shape)
    except ValueError as error:  # for an empty array, whose other axes are larger than numpy supports
        raise InvalidInput(f"input '{name}': shape {list(shape)}: {error}") from None


def _parse_data(data: object, dtype: np.dtype[Any]) -> Array | None:
    """Convert lists to an array. Return None if they contain anything but numbers of this type."""
    try:
        if not _is_numeric(data):  # checked first: numpy would pad all strings to the length of the longest
            return None
        array = np.array(data)
        if array.dtype.kind not in "biuf" or (dtype == np.bool_ and not np.isin(array, (0, 1)).all()):
            return None
        with np.errstate(over="ignore"):  # an overflow gives infinity, which is refused later with a better message
            return array.astype(dtype)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _is_numeric(data: object) -> bool:
    if not isinstance(data, list):
        return False
    kinds = set(map(type, data))
    return kinds <= {int, float, bool} or (kinds == {list} and all(map(_is_numeric, data)))
