"""Decoding the JSON of an infer request with msgspec, in a tenth of the time that pydantic takes.

What msgspec rejects is parsed again by pydantic, which decides and writes the error message. The classes below accept
nothing that those of ``schema.py`` reject, and give the same values: a test compares them.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from pydantic import ValidationError

from deploy_snn.errors import InvalidInput
from deploy_snn.server import schema
from deploy_snn.server.names import SequenceId, parse_sequence
from deploy_snn.server.schema import MAX_AXES, MAX_AXIS_SIZE, MAX_TENSORS, InferBody, first_problem

UInt64 = Annotated[int, Meta(ge=0)]  # below 2**64: the decoder has no bound of that size


class InputParameters(Struct, gc=False):
    """As in ``schema.py``, like all classes here."""

    binary_data_size: int | None = None


class RequestInput(Struct):
    """An input."""

    name: str
    datatype: Literal["FP32", "BOOL"]
    shape: Annotated[list[Annotated[int, Meta(ge=0, lt=MAX_AXIS_SIZE)]], Meta(max_length=MAX_AXES)]
    data: list[Any] | None = None
    parameters: InputParameters | None = None


class OutputParameters(Struct, gc=False):
    """Options of an output."""

    binary_data: bool | None = None


class RequestOutput(Struct, gc=False):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Struct, gc=False):
    """The stream of a request, and options."""

    sequence_id: SequenceId = ""
    sequence_start: bool = False
    sequence_end: bool = False
    sequence_step: UInt64 | None = None
    seed: UInt64 | None = None
    binary_data_output: bool = False


class Body(Struct):
    """An infer request."""

    inputs: Annotated[list[RequestInput], Meta(max_length=MAX_TENSORS)]
    id: str = ""
    outputs: Annotated[list[RequestOutput], Meta(max_length=MAX_TENSORS)] | None = None
    parameters: RequestParameters | None = None


_DECODER = msgspec.json.Decoder(Body)


def decode_body(text: bytes) -> Body | InferBody:
    """Decode the JSON of a request. Raises InvalidInput, with the first mistake in a sentence."""
    try:
        return _decode(text)
    except (ValueError, RecursionError, InvalidInput):  # msgspec's errors are ValueErrors
        pass
    try:
        return InferBody.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def _decode(text: bytes) -> Body:
    """Decode with msgspec. Raises ValueError, RecursionError or InvalidInput."""
    if not text.isascii():
        text.decode()  # msgspec skips the values of unknown fields without a look at their encoding
    body = _DECODER.decode(text)
    parameters = body.parameters
    if parameters is not None:
        _check(parameters)
    return body


def decode_parameters(given: dict[str, object]) -> RequestParameters | schema.RequestParameters:
    """Check the parameters of a request that did not come as JSON. Raises InvalidInput, as ``decode_body``."""
    try:
        parameters = msgspec.convert(given, RequestParameters)
        _check(parameters)
    except (ValueError, InvalidInput):
        pass
    else:
        return parameters
    try:
        return schema.RequestParameters.model_validate(given)
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def _check(parameters: RequestParameters) -> None:
    """Check what the decoder cannot. Raises ValueError or InvalidInput."""
    if parameters.sequence_id:
        parse_sequence(parameters.sequence_id)
    if max(parameters.sequence_step or 0, parameters.seed or 0) >= 2**64:
        raise ValueError
