"""The fast decoder against pydantic's model, which is the protocol's: it takes nothing more, and gives the same values."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy_snn.errors import InvalidInput
from deploy_snn.server import decode, schema
from deploy_snn.server.decode import decode_body, decode_parameters

WHOLE: dict[str, Any] = {
    "id": "7",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1], "parameters": {"binary_data_size": 8}},
        {"name": "y", "datatype": "BOOL", "shape": [], "data": [[True], [False]]},
    ],
    "outputs": [{"name": "s", "parameters": {"binary_data": False}}, {"name": "t"}],
    "parameters": {
        "sequence_id": "a",
        "sequence_start": True,
        "sequence_end": False,
        "sequence_step": 3,
        "seed": 2**64 - 1,
        "binary_data_output": True,
    },
}
EDGES: list[Any] = [
    None,
    False,
    True,
    *[0, -1, 1, 8, 255, 256, 2**31 - 1, 2**31, 2**53, 2**63, 2**64 - 1, 2**64, 10**30, -(10**30)],
    *[0.0, 1.0, -0.5, 1e30, float("nan"), float("inf")],
    *["", "7", "FP32", "BOOL", "x" * 256, "x" * 257, "ü" * 128, "ü" * 129, "\ud800", "\0"],
    *[[], {}, [1] * 8, [1] * 9, [[]], [{}], [None], {"name": "x"}, [{"name": "x"}] * 256, [{"name": "x"}] * 257],
    *[[WHOLE["inputs"][0]] * 256, [WHOLE["inputs"][0]] * 257],
]
VALUES = st.sampled_from(EDGES)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in items for found in places(part, (*path, key)))]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A whole request in which parts are replaced, removed or added, and now and then bytes."""
    document = {"whole": json.loads(json.dumps(WHOLE))}
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(document)[1:] or [("whole",)]))
        parent: Any = document
        for key in path[:-1]:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                parent[path[-1]] = deepcopy(draw(VALUES))
            case "remove" if len(path) > 1:
                del parent[path[-1]]
            case "add" if isinstance(parent, dict):
                parent[draw(st.sampled_from(["other", "seed", "data", "name"]))] = deepcopy(draw(VALUES))
    text = json.dumps(document.get("whole")).encode()
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw(st.sampled_from([b"", b"\xff", b'"', b"\\ud800", b"1", b",", b" ", b"NaN"])) + text[at + 1 :]
        )
    return text


def plain(body: Any) -> Any:
    """The values of a body, whichever class it has."""
    found = body.model_dump() if isinstance(body, schema.InferBody) else msgspec.to_builtins(body)
    if found["parameters"]:
        found["parameters"]["sequence_id"] = found["parameters"]["sequence_id"] or None
    return found


def tried(decoder: Any, given_: object) -> tuple[Any, str | None]:
    """What a decoder returns, or the mistake that it finds."""
    try:
        return decoder(given_), None
    except ValidationError as error:
        return None, schema.first_problem(error)
    except InvalidInput as error:
        return None, str(error)


@settings(max_examples=600, deadline=None)
@given(bodies())
def test_it_takes_what_the_model_takes(text: bytes) -> None:
    compare(text)


def compare(text: bytes) -> None:
    body, mistake = tried(schema.InferBody.model_validate_json, text)
    found, problem = tried(decode_body, text)
    assert problem == mistake
    if body is not None:  # as JSON, in which NaN is equal to itself, and 1 is not 1.0
        assert json.dumps(plain(found), sort_keys=True) == json.dumps(plain(body), sort_keys=True)


@pytest.mark.parametrize("path", places(WHOLE)[1:], ids=str)
def test_each_part_takes_the_same_values(path: tuple[Any, ...]) -> None:
    for value in EDGES:
        document = deepcopy(WHOLE)
        parent: Any = document
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        compare(json.dumps(document).encode())


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"inputs": [], "other": "\xff"}', b"\xef\xbb\xbf{}", b'{"inputs": []} 1']
)
def test_mistakes_that_are_rare(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="not valid JSON"):
        decode_body(text)


def test_a_whole_request_is_decoded_fast() -> None:
    """All fields are known to both, so that the slow decoder is for mistakes only."""
    found = decode_body(json.dumps(WHOLE).encode())
    assert isinstance(found, decode.Body)
    names = ("RequestInput", "InputParameters", "RequestOutput", "OutputParameters", "RequestParameters")
    pairs = [(decode.Body, schema.InferBody), *((getattr(decode, name), getattr(schema, name)) for name in names)]
    for fast, slow in pairs:
        assert set(fast.__struct_fields__) == set(slow.model_fields)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*WHOLE["parameters"], "other"]), VALUES))
def test_parameters_of_other_protocols(given_: dict[str, object]) -> None:
    expected, mistake = tried(schema.RequestParameters.model_validate, given_)
    found, problem = tried(decode_parameters, given_)
    assert problem == mistake
    for name in schema.RequestParameters.model_fields if expected else ():
        own, wanted = getattr(found, name), getattr(expected, name)
        assert ((own or None) == wanted) if name == "sequence_id" else (own == wanted and type(own) is type(wanted))
