"""The bodies of requests and responses, as ``/openapi.json`` describes them. ``protocol.py`` parses and renders them."""

from typing import Any

from pydantic import BaseModel

OCTET_STREAM = "application/octet-stream"
BYTES: dict[str, Any] = {OCTET_STREAM: {"schema": {"type": "string", "format": "binary"}}}


class ErrorResponse(BaseModel):
    """The reason for which a request failed, in a sentence."""

    error: str


class ServerMetadata(BaseModel):
    """The server, and the extensions of the protocol that it supports."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The server is running."""

    live: bool


class Ready(BaseModel):
    """All loaded models can answer requests."""

    ready: bool


class ModelReady(Ready):
    """A model can answer requests."""

    name: str


class Tensor(BaseModel):
    """A tensor of a model. -1 in its shape means any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Any]


class IndexEntry(BaseModel):
    """A bundle, and whether it is loaded."""

    name: str
    version: str
    state: str
    reason: str


class Output(Tensor):
    """An output. Its values are in ``data``, or follow the JSON in binary; ``parameters`` then has their size in bytes."""

    data: list[float | bool] = []
    parameters: dict[str, int] = {}


class InferResponse(BaseModel):
    """The response to an infer request."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str = ""
    parameters: dict[str, Any] = {}


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": ErrorResponse,
        "description": "The request is invalid, not authorised, or refers to an unknown model or stream.",
    },
    "5XX": {"model": ErrorResponse, "description": "503: a limit is reached, try again later; 500: internal server error."},
}
INFER_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"model": InferResponse, "content": BYTES}}
STATE_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": BYTES}}
STATE_BODY = {"requestBody": {"required": True, "content": BYTES}}

_UINT64 = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
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
_OUTPUT = {
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
        "sequence_id": {"oneOf": [_UINT64, {"type": "string"}]},
        "sequence_start": {"type": "boolean"},
        "sequence_end": {"type": "boolean"},
        "sequence_step": _UINT64,
        "seed": _UINT64,
        "binary_data_output": {"type": "boolean"},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _INPUT},
        "outputs": {"type": "array", "items": _OUTPUT},
        "parameters": _PARAMETERS,
    },
}
INFER_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}}
