"""Parsing and rendering of the Open Inference Protocol (KServe v2, with Triton's binary and sequence extensions).

https://github.com/kserve/open-inference-protocol. In a body with binary data, the data follow the JSON, whose length is
in the header ``HEADER_LENGTH``.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from deploy_snn.contract import Contract, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import Array, Arrays

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"FP32": np.dtype("float32"), "BOOL": np.dtype("bool")}
DATATYPE_OF_NAME = {dtype.name: datatype for datatype, dtype in DATATYPES.items()}
DATATYPE_OF_DTYPE = {dtype: datatype for datatype, dtype in DATATYPES.items()}
COMPACT_JSON = json.JSONEncoder(separators=(",", ":"))
MAX_NAME_BYTES = 256
"""Of a name that a client chooses."""
MAX_AXES, MAX_AXIS_SIZE = 8, 2**31
"""Limits of a shape. Without them, a client could send integers so large that arithmetic on them blocks the server."""

JSON_TYPES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
"""What messages call the types of parsed JSON."""

SequenceId = int | str
"""The name of a stream."""

T = TypeVar("T")


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
    InvalidInput for a body that does not conform to the protocol.
    """
    length = len(body) if header_length is None else _parse_length(header_length, len(body))
    try:
        parsed = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the request is not valid JSON: {error}") from None
    request = _typed(parsed, dict, "the request")
    parameters = _typed(request.get("parameters", {}), dict, "parameters")
    binary_data = memoryview(body)[length:]
    inputs: Arrays = {}
    for tensor in _typed(request.get("inputs"), list, "inputs"):
        name, array, binary_data = _parse_input(_typed(tensor, dict, "an input"), binary_data)
        if name in inputs:
            raise InvalidInput(f"input '{name}' is given twice")
        inputs[name] = array
    if len(binary_data):
        raise InvalidInput(f"{len(binary_data)} bytes follow the last binary input")
    binary = _typed(parameters.get("binary_data_output", False), bool, "binary_data_output")
    outputs = {}
    for output in _typed(request.get("outputs", []), list, "outputs"):
        options = _typed(_typed(output, dict, "an output").get("parameters", {}), dict, "parameters")
        outputs[_typed(output.get("name"), str, "an output's name")] = _typed(
            options.get("binary_data", binary), bool, "binary_data"
        )
    return InferRequest(
        id=_typed(request.get("id", ""), str, "id"),
        inputs=inputs,
        outputs=outputs,
        binary=binary,
        sequence=parse_sequence(parameters.get("sequence_id", 0)),
        start=_typed(parameters.get("sequence_start", False), bool, "sequence_start"),
        end=_typed(parameters.get("sequence_end", False), bool, "sequence_end"),
        seed=_parse_uint64(parameters, "seed"),
        step=_parse_uint64(parameters, "sequence_step"),
    )


def render_response(model: str, request: InferRequest, outputs: Arrays, steps: int) -> tuple[bytes, int | None]:
    """Render the body of a response. Returns it with the length of its JSON part, or None if no binary data follow it.

    ``steps`` is the number of steps that the stream has taken. ``outputs`` includes all requested ones.
    """
    tensors, binary_data = [], []
    for name, binary in (request.outputs or dict.fromkeys(outputs, request.binary)).items():
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": DATATYPE_OF_DTYPE[array.dtype], "shape": list(array.shape)}
        if binary:
            binary_data.append(np.ascontiguousarray(array).tobytes())
            tensor["parameters"] = {"binary_data_size": len(binary_data[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    response: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": tensors}
    if request.id:
        response["id"] = request.id
    if request.sequence is not None:
        response["parameters"] = {"sequence_id": request.sequence, "sequence_step": steps}
    rendered = COMPACT_JSON.encode(response).encode()
    return (b"".join([rendered, *binary_data]), len(rendered)) if binary_data else (rendered, None)


def read_binary(name: str, data: memoryview, dtype: str, shape: Iterable[int]) -> Array:
    """Copy a tensor's bytes, as many as its shape needs, to an array. Raises InvalidInput for a BOOL other than 0 and 1."""
    if dtype == "bool" and (np.frombuffer(data, np.uint8) > 1).any():
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


def _describe(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "datatype": DATATYPE_OF_NAME[spec.dtype],
            "shape": [-1 if axis.size is None else axis.size for axis in spec.axes],
        }
        for spec in specs
    ]


def sequence_in_path(text: str) -> SequenceId:
    """Parse a sequence's name in a path or query: 7 is an integer, "7" in quotes a string; other text is a string too.

    Raises InvalidInput for 0 and the empty string.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    name = parse_sequence(value if type(value) in (int, str) else text)
    if name is None:
        raise InvalidInput("a sequence in a path or query cannot be 0 or empty")
    return name


def _typed(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise InvalidInput(f"{what}: expected {JSON_TYPES[kind]}, not {JSON_TYPES[type(value)]}")
    return value


def _parse_length(text: str, body_length: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > body_length:
        raise InvalidInput(
            f"{HEADER_LENGTH}: {text[:20]}: expected the length of the JSON, at most the {body_length} bytes of the body"
        )
    return int(text)


def _parse_input(tensor: dict[str, Any], binary_data: memoryview) -> tuple[str, Array, memoryview]:
    """Parse one input. Returns its name, its values, and the binary data of the inputs after it."""
    name = _typed(tensor.get("name"), str, "an input's name")
    datatype, shape = tensor.get("datatype"), _typed(tensor.get("shape"), list, f"input '{name}': shape")
    dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise InvalidInput(f"input '{name}': unknown datatype {datatype}; choose from {', '.join(DATATYPES)}")
    if len(shape) > MAX_AXES or not all(type(size) is int and 0 <= size < MAX_AXIS_SIZE for size in shape):
        shown = str(shape[:MAX_AXES])[:80]
        raise InvalidInput(f"input '{name}': shape {shown}: expected at most {MAX_AXES} whole numbers below 2**31")
    count = math.prod(shape)
    size = _typed(tensor.get("parameters", {}), dict, "parameters").get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != count * dtype.itemsize or size > len(binary_data):
            raise InvalidInput(
                f"input '{name}': binary_data_size is {size}, but {datatype} {shape} takes {count * dtype.itemsize} bytes "
                f"and the body has {len(binary_data)} bytes left"
            )
        return name, read_binary(name, binary_data[:size], dtype.name, shape), binary_data[size:]
    array = _parse_data(tensor.get("data"), dtype)
    if array is None:
        raise InvalidInput(f"input '{name}': data: expected numbers for {datatype}, flat or nested as its shape {shape}")
    if array.size != count:
        raise InvalidInput(f"input '{name}' has {array.size} elements; shape {shape} takes {count}")
    return name, _reshaped(name, array, tuple(shape)), binary_data


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


def parse_sequence(value: object) -> SequenceId | None:
    """Check a ``sequence_id``. As in Triton, 0 and the empty string mean that the request has no sequence."""
    if type(value) is not int and not isinstance(value, str):
        raise InvalidInput(f"sequence_id: expected a whole number or a string, not {JSON_TYPES[type(value)]}")
    if isinstance(value, int) and not 0 <= value < 2**64:
        raise InvalidInput(f"sequence_id {str(value)[:40]}: expected 0 to 2**64 - 1")
    if isinstance(value, str):
        check_name(value, "sequence_id")
    return value or None


def check_name(value: str, what: str) -> None:
    """Raise InvalidInput for a name of more than ``MAX_NAME_BYTES`` bytes of UTF-8, or with a lone surrogate."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{what}: expected valid Unicode") from None
    if size > MAX_NAME_BYTES:
        raise InvalidInput(f"{what} has {size} bytes; at most {MAX_NAME_BYTES} are allowed")


def _parse_uint64(parameters: dict[str, Any], name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < 2**64):
        raise InvalidInput(f"{name}: expected a whole number from 0 to 2**64 - 1")
    return value
