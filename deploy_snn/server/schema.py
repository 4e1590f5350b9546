"""What the routes take and give, for ``/openapi.json``: the parsing itself is in ``protocol.py``."""

from typing import Any

from pydantic import BaseModel

OCTETS = "application/octet-stream"
BYTES: dict[str, Any] = {OCTETS: {"schema": {"type": "string", "format": "binary"}}}


class Refusal(BaseModel):
    """Why a request was refused, in a sentence."""

    error: str


class Server(BaseModel):
    """A server and its extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class Tensor(BaseModel):
    """A tensor of a model; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Any]


class Indexed(BaseModel):
    """A bundle, and whether it is loaded."""

    name: str
    version: str
    state: str
    reason: str


class Output(Tensor):
    """An output: its elements in ``data``, or behind the JSON, as many bytes as ``parameters`` say."""

    data: list[float | bool] = []
    parameters: dict[str, int] = {}


class Answer(BaseModel):
    """The answer to an infer request."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str = ""
    parameters: dict[str, Any] = {}


REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "Refused: the request, or what it asks for, is not as it must be."},
    "5XX": {"model": Refusal, "description": "503: there is no room now; 500: the server's own mistake."},
}
ANSWERED: dict[int | str, dict[str, Any]] = {200: {"model": Answer, "content": BYTES}}
A_STATE: dict[int | str, dict[str, Any]] = {200: {"content": BYTES}}
A_STATE_BODY = {"requestBody": {"required": True, "content": BYTES}}

_WHOLE = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
_INPUT = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"enum": ["FP32", "BOOL"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_WANTED = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
    },
}
_PARAMETERS = {
    "type": "object",
    "properties": {
        "sequence_id": {"oneOf": [_WHOLE, {"type": "string"}]},
        "sequence_start": {"type": "boolean"},
        "sequence_end": {"type": "boolean"},
        "sequence_step": _WHOLE,
        "seed": _WHOLE,
        "binary_data_output": {"type": "boolean"},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _INPUT},
        "outputs": {"type": "array", "items": _WANTED},
        "parameters": _PARAMETERS,
    },
}
AN_INFER_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}}
