"""Our responses fit MLServer's types, and our routes fit our own OpenAPI description."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

EXPORT = Path(__file__).parent.parent.parent / "export"


@pytest.fixture(scope="module")
def address(running: Callable) -> Iterator[str]:
    with running(
        [EXPORT / "lif", EXPORT / "diehl_cook_2015"], "--max-streams", 50, "--log-level", "warning", "--model-control"
    ) as served:
        yield f"http://{served.address}"


@pytest.fixture(scope="module")
def types() -> Iterator[ModuleType]:
    """MLServer's types, without importing the rest of MLServer, which is not installed."""
    spec = find_spec("mlserver")
    if spec is None and sys.version_info >= (3, 13):
        pytest.skip("MLServer has no release for Python 3.13 or newer")
    assert spec is not None
    package = ModuleType("mlserver")
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["mlserver"] = package
    import mlserver.types

    yield mlserver.types
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlserver"]:
        del sys.modules[name]


def test_responses_fit_the_types_of_mlserver(address: str, types: ModuleType) -> None:
    """MLServer's types parse each response without losing a field."""

    def parsed(kind: Any, response: httpx.Response) -> Any:
        """Parse the response as this type, which must keep every field."""
        found = kind.model_validate_json(response.content, strict=True)
        assert found.model_dump(exclude_unset=True) == response.json()
        return found

    with httpx.Client(base_url=f"{address}/v2") as http:
        assert parsed(types.MetadataServerResponse, httpx.get(f"{address}/v2")).name == "deploy_snn"
        assert parsed(types.MetadataServerErrorResponse, http.get("/nowhere")).error
        assert [http.get(f"/health/{state}").json() for state in ("live", "ready")] == [{"live": True}, {"ready": True}]
        assert http.get("/models/lif/ready").json() == {"name": "lif", "ready": True}  # as KServe's client reads them
        described = parsed(types.MetadataModelResponse, http.get("/models/diehl_cook_2015"))
        assert {tensor.name for tensor in described.outputs} == {"exc.s", "inh.s"}
        assert parsed(types.MetadataModelErrorResponse, http.get("/models/none")).error
        index = http.post("/repository/index").json()
        assert [types.RepositoryIndexResponseItem.model_validate(item).state for item in index] == ["READY", "READY"]
        assert parsed(types.RepositoryLoadErrorResponse, http.post("/repository/models/none/load")).error

        drive = described.inputs[0]
        request = types.InferenceRequest(
            id="7",
            parameters=types.Parameters(sequence_id="mlserver", sequence_start=True),
            inputs=[
                types.RequestInput(
                    name=drive.name,
                    datatype=drive.datatype,
                    shape=[1, drive.shape[1]],
                    data=types.TensorData([0.0] * drive.shape[1]),
                )
            ],
            outputs=[types.RequestOutput(name="exc.s")],
        )
        reply = http.post("/models/diehl_cook_2015/infer", content=request.model_dump_json(exclude_none=True))
        answer = parsed(types.InferenceResponse, reply)
        assert (answer.id, answer.outputs[0].name, answer.outputs[0].datatype) == ("7", "exc.s", "BOOL")
        assert list(answer.outputs[0].data) == [False] * 16
        refused = http.post("/models/lif/infer", content=request.model_dump_json())
        assert parsed(types.InferenceErrorResponse, refused).error


def test_routes_fit_the_openapi_description(address: str) -> None:
    """For generated valid and invalid requests, each response is as the OpenAPI description says, and none is 5xx."""
    load_all_checks()
    excluded = [CHECKS.get_one("positive_data_acceptance")]  # a request may fit the description, but not the model
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    seen: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(st.one_of(right, wrong), st.booleans())
        def check(case: schemathesis.Case, real: bool) -> None:
            if real and "name" in case.path_parameters:
                case.path_parameters["name"] = "lif"
            seen[case.call_and_validate(excluded_checks=excluded).status_code] += 1

        check()
    assert {200, 400, 404} <= seen.keys() <= {200, 201, 400, 404, 405, 409}, seen
    assert httpx.post(f"{address}/v2/repository/models/lif/load").status_code == 200
