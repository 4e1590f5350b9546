"""The bodies of requests and responses: requests are parsed by these classes, and ``/openapi.json`` is made from them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from deploy_snn.server.names import SequenceId, parse_sequence

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

UInt64 = Annotated[int, Field(ge=0, lt=2**64)]
MAX_AXES, MAX_AXIS_SIZE, MAX_TENSORS = 8, 2**31, 256
"""Limits of a shape and of a request. Without them, a client could send integers so large that arithmetic takes long."""


class Strict(BaseModel):
    """A part of a request. Types are not converted; unknown fields are ignored, as the protocol demands.

    An absent object is None: pydantic would copy a default object for each request, which takes longer than parsing.
    """

    model_config = ConfigDict(strict=True)


class InputParameters(Strict):
    """``binary_data_size``: the bytes of the tensor, which follow the JSON."""

    binary_data_size: int | None = None


class RequestInput(Strict):
    """An input. Its values are in ``data``, flat or nested, or follow the JSON in binary."""

    name: str
    datatype: Literal["FP32", "BOOL"]
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=MAX_AXIS_SIZE)]], Field(max_length=MAX_AXES)]
    data: list[Any] | None = None
    parameters: InputParameters | None = None


class OutputParameters(Strict):
    """``binary_data``: whether the output follows the JSON in binary."""

    binary_data: bool | None = None


class RequestOutput(Strict):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Strict):
    """The stream of a request, and options.

    ``sequence_step`` is the step at which the client believes the stream to be. A start with step 0 begins the stream
    only if there is none of this name, so that a start which is repeated, or arrives late, does not undo what followed.
    """

    sequence_id: Annotated[
        SequenceId | None,
        BeforeValidator(parse_sequence),
        WithJsonSchema({"oneOf": [{"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, {"type": "string"}]}),
    ] = None
    sequence_start: bool = False
    sequence_end: bool = False
    sequence_step: UInt64 | None = None
    seed: UInt64 | None = None
    binary_data_output: bool = False


class InferBody(Strict):
    """An infer request."""

    id: str = ""
    inputs: Annotated[list[RequestInput], Field(max_length=MAX_TENSORS)]
    outputs: Annotated[list[RequestOutput] | None, Field(max_length=MAX_TENSORS)] = None
    parameters: RequestParameters | None = None


def first_problem(error: ValidationError) -> str:
    """The first mistake in a request, in a sentence."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        return f"the request is not valid JSON: {problem['msg'].removeprefix('Invalid JSON: ')}"
    place = ".".join(map(str, problem["loc"])) or "the request"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}"


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema with its definitions in the places that refer to them: it becomes a part of a larger document."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {key: _inlined(part, definitions) for key, part in schema.items() if key != "$defs"}


_BODY = InferBody.model_json_schema()
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _inlined(_BODY, _BODY["$defs"])}},
    }
}
