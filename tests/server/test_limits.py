"""Invalid requests get errors in the protocol's form, limits hold, and the server keeps running."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

EXPORT = Path(__file__).parent.parent.parent / "export"
X = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}


@pytest.fixture(scope="module")
def http(running: Callable) -> Iterator[httpx.Client]:
    options = ("--max-streams", 3, "--idle-timeout", 1.0)
    with (
        running([EXPORT / "lif"], *options) as served,
        httpx.Client(base_url=f"http://{served.address}/v2", timeout=60) as client,
    ):
        yield client


def infer(http: httpx.Client, *inputs: object, **parameters: object) -> httpx.Response:
    return http.post("/models/lif/infer", json={"inputs": list(inputs), "parameters": parameters})


INVALID_BODIES: list[tuple[Any, str]] = [
    (b"{", "the request is not valid JSON"),
    (b"[" * 100_000, "the request is not valid JSON"),
    (b"\xff\xfe", "the request is not valid JSON"),
    ([], "the request: Input should be an object"),
    ({}, "inputs: Field required"),
    ({"inputs": [1]}, "inputs.0: Input should be an object"),
    ({"inputs": [{}]}, "inputs.0.name: Field required"),
    ({"inputs": []}, "input 'x' is missing; expected x float32 [batch, 8]"),
    ({"inputs": [X, X]}, "input 'x' is given twice"),
    ({"inputs": [X | {"name": "y"}]}, "input 'x' is missing"),
    ({"inputs": [X | {"datatype": "INT8"}]}, "inputs.0.datatype: Input should be 'FP32' or 'BOOL'"),
    ({"inputs": [X | {"datatype": "BOOL", "data": [True] * 8}]}, "convert it to float32"),
    ({"inputs": [X | {"shape": [1, 7]}]}, "has 8 elements; shape [1, 7] takes 7"),
    ({"inputs": [X | {"shape": [1, -8]}]}, "inputs.0.shape.1: Input should be greater than or equal to 0"),
    ({"inputs": [X | {"shape": [10**30, 10**30]}]}, "inputs.0.shape.0: Input should be less than 2147483648"),
    ({"inputs": [X | {"shape": [1] * 9}]}, "inputs.0.shape: List should have at most 8 items"),
    ({"inputs": [X | {"shape": [2**30, 2**30]}]}, "elements; shape"),
    ({"inputs": [X | {"shape": [8]}]}, "it has 1 axes, not 2"),
    ({"inputs": [X | {"shape": [0, 8], "data": []}]}, "axis 'batch' is empty"),
    ({"inputs": [X | {"data": ["a"] * 8}]}, "expected numbers"),
    ({"inputs": [X | {"data": [[1], [1, 2]]}]}, "expected numbers"),
    ({"inputs": [X | {"data": None}]}, "expected numbers"),
    ({"inputs": [X] * 300}, "inputs: List should have at most 256 items"),
    (json.dumps({"inputs": [X]}).replace("0.0", "NaN").encode(), "must be finite, but is nan"),
    (json.dumps({"inputs": [X]}).replace("0.0", "1e99").encode(), "must be finite, but is inf"),
    ({"inputs": [X | {"parameters": {"binary_data_size": 32}}]}, "takes 32 bytes and the body has 0 bytes left"),
    ({"inputs": [X], "outputs": [{"name": "v"}]}, "unknown output 'v'; choose from s"),
    ({"inputs": [X], "parameters": {"sequence_id": 1.5}}, "sequence_id: expected a whole number or a string"),
    ({"inputs": [X], "parameters": {"sequence_id": -1}}, "sequence_id -1"),
    ({"inputs": [X], "parameters": {"sequence_id": "a" * 257}}, "sequence_id has 257 bytes; at most 256 are allowed"),
    ({"inputs": [X], "parameters": {"sequence_id": "ö" * 129}}, "sequence_id has 258 bytes"),
    ({"inputs": [X], "parameters": {"sequence_id": "\ud800"}}, "the request is not valid JSON"),
    ({"inputs": [X], "parameters": {"sequence_id": 10**4000}}, "expected 0 to 2**64 - 1"),
    (
        {"inputs": [X], "parameters": {"sequence_start": "yes"}},
        "sequence_start: Input should be a valid boolean",
    ),
    ({"inputs": [X], "parameters": {"seed": "x"}}, "parameters.seed: Input should be a valid integer"),
    ({"inputs": [X], "parameters": {"sequence_id": "nobody"}}, "sequence 'nobody' has no stream here"),
    ({"inputs": [X], "id": 3}, "id: Input should be a valid string"),
]


@pytest.mark.parametrize(("body", "error"), INVALID_BODIES)
def test_invalid_bodies(body: Any, error: str, http: httpx.Client) -> None:
    """An invalid body is rejected with status 400 and an error that names the mistake."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post("/models/lif/infer", content=content)
    assert response.status_code == 400, response.text
    assert error in response.json()["error"]
    assert infer(http, X).status_code == 200, "a later request failed"


def test_invalid_encodings_lengths_and_paths(http: httpx.Client) -> None:
    """Invalid compression, invalid lengths and unknown paths are rejected."""
    good = json.dumps({"inputs": [X]}).encode()

    def post(content: bytes, **headers: str) -> tuple[int, str]:
        response = http.post(
            "/models/lif/infer", content=content, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        return response.status_code, response.json().get("error", "")

    assert post(gzip.compress(good), Content_Encoding="gzip") == (200, "")
    assert post(good, Content_Encoding="gzip")[1].startswith("the body is not valid gzip")
    assert post(gzip.compress(good)[:-9], Content_Encoding="gzip")[1] == "the body's gzip stream is incomplete"
    assert post(good, Content_Encoding="br")[1].startswith("unknown content-encoding 'br'")
    assert post(gzip.compress(b" " * 2**28), Content_Encoding="gzip")[0] == 413
    assert post(b" " * (2**26 + 1))[0] == 413
    for length in ("-1", "ten", "9999"):
        assert post(good, Inference_Header_Content_Length=length)[1].startswith("Inference-Header-Content-Length")
    assert http.get("/nothing").json() == {"error": "GET /v2/nothing: Not Found"}
    assert http.get("/models/lif/infer").json() == {"error": "GET /v2/models/lif/infer: Method Not Allowed"}
    assert http.get("/models/none").status_code == 404
    assert http.get("/models/lif/versions/7/ready").status_code == 404


def test_max_streams_and_idle_timeout(http: httpx.Client) -> None:
    """A start beyond max_streams gets status 503. Idle streams are dropped."""
    for name in ("a", "b", "c"):
        assert infer(http, X, sequence_id=name, sequence_start=True).status_code == 200
    full = infer(http, X, sequence_id="d", sequence_start=True)
    assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    assert "lif has no room for another stream: it has 3 of at most 3" in full.json()["error"]
    assert infer(http, X).status_code == 200, "a request without a stream was counted as a stream"
    assert infer(http, X, sequence_id="a", sequence_start=True).status_code == 200, "a restart was counted as a new stream"
    other = infer(http, X | {"shape": [2, 8], "data": [0.0] * 16}, sequence_id="b")
    assert "the inputs have batch size 2, but the stream has batch size 1" in other.json()["error"]
    assert infer(http, X, sequence_id="b", sequence_end=True).status_code == 200
    assert infer(http, X, sequence_id="d", sequence_start=True).status_code == 200
    for _ in range(4):
        time.sleep(0.5)
        assert infer(http, X, sequence_id="d").status_code == 200, "a stream in use was dropped"
    assert infer(http, X, sequence_id="a").status_code == 400
    assert infer(http, X, sequence_id="c").status_code == 400


def test_prometheus_metrics(running: Callable) -> None:
    """Prometheus' own parser reads the counters of requests, steps and spikes, and the gauges."""
    with (
        running([EXPORT / "lif"], "--max-streams", 1) as served,
        httpx.Client(base_url=f"http://{served.address}/v2", timeout=60) as http,
    ):
        spikes = 0
        for step in range(20):
            drive = X | {"shape": [2, 8], "data": [15.0] * 16}
            answer = infer(http, drive, sequence_id="a", sequence_start=step == 0)
            spikes += sum(answer.json()["outputs"][0]["data"])
        infer(http, X, sequence_id="b", sequence_start=True)  # rejected: the limit of streams is reached
        infer(http, X | {"shape": [7]})
        chunk = X | {"shape": [5, 1, 8], "data": [0.0] * 40}
        infer(http, chunk)
        text = httpx.get(f"http://{served.address}/metrics").text
    found = {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert spikes > 0
    assert found["deploy_snn_requests_total", "answered"] == 21
    assert found["deploy_snn_requests_total", "busy"] == 1
    assert found["deploy_snn_requests_total", "refused"] == 1
    assert found["deploy_snn_request_seconds_count",] == 23
    assert found["deploy_snn_steps_total",] == 2 * 20 + 5
    assert found["deploy_snn_spikes_total", "s"] == spikes
    assert found["deploy_snn_batch_rows_bucket", "1.0"] == 1
    assert found["deploy_snn_batch_rows_bucket", "2.0"] == 21
    assert found["deploy_snn_streams",] == 1
    assert found["deploy_snn_state_bytes",] == 2 * 2 * 8 * 4
    assert found["deploy_snn_queue",] == 0


def test_invalid_arguments(refused: Callable[..., str], tmp_path: Path) -> None:
    """A server with an invalid bundle or runtime exits with an error."""
    assert refused(tmp_path) == f"deploy-snn: {tmp_path} is not a bundle: it has no manifest.json\n"
    assert "two bundles have the same folder name" in refused(EXPORT / "lif", EXPORT / "lif")
    assert "unknown runtime 'abacus'; choose from" in refused(EXPORT / "lif", "--runtime", "abacus")
