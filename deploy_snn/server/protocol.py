"""The Open Inference Protocol's bodies (KServe v2, with Triton's binary and sequence extensions), to and from arrays.

https://github.com/kserve/open-inference-protocol; binary data follow the JSON, which is as long as a header says.
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
NAMES = {dtype.name: name for name, dtype in DATATYPES.items()}
NAMES_OF = {dtype: name for name, dtype in DATATYPES.items()}
COMPACT = json.JSONEncoder(separators=(",", ":"))
MOST_AXES, LARGEST_AXIS = 8, 2**31
"""No body holds more. Numbers have no end in Python, and neither has the time that it takes to multiply or print them."""

Sequence = int | str
T = TypeVar("T")


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for. ``sequence`` is None for a run of its own, from the initial state."""

    id: str
    inputs: Arrays
    wanted: dict[str, bool]
    """The outputs that were asked for, and which of them in binary; all of them if none is named."""
    binary: bool
    """Whether outputs come in binary unless said otherwise."""
    sequence: Sequence | None
    start: bool
    end: bool
    seed: int | None
    step: int | None = None
    """How many steps its stream has taken, as the client knows it; another number is an error."""


def parse_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read the body of an infer request. Raises InvalidInput for whatever is not as the protocol says."""
    length = len(body) if header_length is None else _length(header_length, len(body))
    try:
        parsed = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the request is no JSON: {error}") from None
    request = _typed(parsed, dict, "the request")
    parameters = _typed(request.get("parameters", {}), dict, "parameters")
    blobs = memoryview(body)[length:]
    inputs: Arrays = {}
    for given in _typed(request.get("inputs"), list, "inputs"):
        name, array, blobs = _input(_typed(given, dict, "an input"), blobs)
        if name in inputs:
            raise InvalidInput(f"input '{name}' is given twice")
        inputs[name] = array
    if len(blobs):
        raise InvalidInput(f"{len(blobs)} bytes follow the last binary input")
    binary = _typed(parameters.get("binary_data_output", False), bool, "binary_data_output")
    wanted = {}
    for output in _typed(request.get("outputs", []), list, "outputs"):
        own = _typed(_typed(output, dict, "an output").get("parameters", {}), dict, "parameters")
        wanted[_typed(output.get("name"), str, "an output's name")] = _typed(
            own.get("binary_data", binary), bool, "binary_data"
        )
    return InferRequest(
        id=_typed(request.get("id", ""), str, "id"),
        inputs=inputs,
        wanted=wanted,
        binary=binary,
        sequence=_sequence(parameters),
        start=_typed(parameters.get("sequence_start", False), bool, "sequence_start"),
        end=_typed(parameters.get("sequence_end", False), bool, "sequence_end"),
        seed=_whole(parameters, "seed"),
        step=_whole(parameters, "sequence_step"),
    )


def render_response(model: str, request: InferRequest, outputs: Arrays, steps: int) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON part where binary data follow it.

    ``steps`` is how many its stream has taken. The outputs that were asked for are among ``outputs``.
    """
    described, blobs = [], []
    for name, binary in (request.wanted or dict.fromkeys(outputs, request.binary)).items():
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": NAMES_OF[array.dtype], "shape": list(array.shape)}
        if binary:
            blobs.append(np.ascontiguousarray(array).tobytes())
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": described}
    if request.id:
        answer["id"] = request.id
    if request.sequence is not None:
        answer["parameters"] = {"sequence_id": request.sequence, "sequence_step": steps}
    head = COMPACT.encode(answer).encode()
    return (b"".join([head, *blobs]), len(head)) if blobs else (head, None)


def read_binary(name: str, blob: memoryview, dtype: str, shape: Iterable[int]) -> Array:
    """A tensor's bytes, of the right length, as an array of its own. Raises InvalidInput for bytes that are no BOOL."""
    if dtype == "bool" and (np.frombuffer(blob, np.uint8) > 1).any():
        raise InvalidInput(f"input '{name}' holds bytes that are no BOOL")
    return _shaped(name, np.frombuffer(blob, dtype), tuple(shape)).copy()


def metadata(model: str, platform: str, contract: Contract) -> dict[str, Any]:
    """What a model takes and gives, step by step; a chunk has one more axis in front, its time."""
    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": _tensors(contract.inputs),
        "outputs": _tensors(contract.outputs),
        "parameters": {"dt_ms": contract.dt, "contract": contract.model_dump(mode="json")},
    }


def _tensors(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "datatype": NAMES[spec.dtype],
            "shape": [-1 if axis.size is None else axis.size for axis in spec.axes],
        }
        for spec in specs
    ]


def sequence_in_path(text: str) -> Sequence:
    """A sequence's name in a path: 7 is an integer, "7" in quotes a string, as in JSON; other text is itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    name = _sequence({"sequence_id": value if type(value) in (int, str) else text})
    if name is None:
        raise InvalidInput("0 and the empty string name no sequence")
    return name


def _typed(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise InvalidInput(f"{what}: expected {kind.__name__}, and not {type(value).__name__}")
    return value


def _length(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > most:
        raise InvalidInput(f"{HEADER_LENGTH}: {text[:20]}: expected the length of the JSON, of a body of {most} bytes")
    return int(text)


def _input(given: dict[str, Any], blobs: memoryview) -> tuple[str, Array, memoryview]:
    """One input, and what is left of the binary data."""
    name = _typed(given.get("name"), str, "an input's name")
    datatype, shape = given.get("datatype"), _typed(given.get("shape"), list, f"input '{name}': shape")
    dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise InvalidInput(f"input '{name}' is {datatype}; expected {' or '.join(DATATYPES)}")
    if len(shape) > MOST_AXES or not all(type(size) is int and 0 <= size < LARGEST_AXIS for size in shape):
        given_shape = str(shape[:MOST_AXES])[:80]
        raise InvalidInput(f"input '{name}': shape {given_shape}: expected at most {MOST_AXES} whole numbers below 2**31")
    count = math.prod(shape)
    size = _typed(given.get("parameters", {}), dict, "parameters").get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != count * dtype.itemsize or size > len(blobs):
            raise InvalidInput(
                f"input '{name}': binary_data_size {size}, of {len(blobs)} bytes left; "
                f"{datatype} {shape} takes {count * dtype.itemsize}"
            )
        return name, read_binary(name, blobs[:size], dtype.name, shape), blobs[size:]
    array = _numbers(given.get("data"), dtype)
    if array is None:
        raise InvalidInput(f"input '{name}': data: expected numbers for {datatype}, flat or nested as its shape {shape}")
    if array.size != count:
        raise InvalidInput(f"input '{name}' has {array.size} elements; shape {shape} takes {count}")
    return name, _shaped(name, array, tuple(shape)), blobs


def _shaped(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return array.reshape(shape)
    except ValueError as error:  # the other axes of an empty one are more than numpy counts
        raise InvalidInput(f"input '{name}': shape {list(shape)}: {error}") from None


def _numbers(data: object, dtype: np.dtype[Any]) -> Array | None:
    """Lists as an array, or None if they hold anything else than numbers of this type."""
    try:
        if not _numeric(data):  # of strings, numpy would make an array in which each is as large as the longest
            return None
        array = np.array(data)
        if array.dtype.kind not in "biuf" or (dtype == np.bool_ and not np.isin(array, (0, 1)).all()):
            return None
        with np.errstate(over="ignore"):  # it becomes infinite, and that has an error of its own
            return array.astype(dtype)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _numeric(data: object) -> bool:
    if not isinstance(data, list):
        return False
    kinds = set(map(type, data))
    return kinds <= {int, float, bool} or (kinds == {list} and all(map(_numeric, data)))


def _sequence(parameters: dict[str, Any]) -> Sequence | None:
    """As Triton has it, 0 and the empty string stand for no sequence at all."""
    given = parameters.get("sequence_id", 0)
    if type(given) is not int and not isinstance(given, str):
        raise InvalidInput(f"sequence_id: expected a whole number or a string, and not {type(given).__name__}")
    if isinstance(given, int) and not 0 <= given < 2**64:
        raise InvalidInput(f"sequence_id {given}: expected 0 to 2**64 - 1")
    return given or None


def _whole(parameters: dict[str, Any], name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < 2**64):
        raise InvalidInput(f"{name}: expected a whole number from 0 to 2**64 - 1")
    return value
