"""The fast path for infer requests: on one connection, each request of any kind gets one response, in order."""

import gzip
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy_snn.bundle import Bundle
from deploy_snn.runtimes.eager import Eager

EXPORT = Path(__file__).parent.parent.parent / "export"
INFER = "/v2/models/lif/infer"
NEW = itertools.count(1)


@pytest.fixture(scope="module")
def served(running: Callable) -> Iterator[Any]:
    with running([EXPORT / "lif"], "--allowed-host", "here") as served:
        yield served


def post(body: bytes, path: str = INFER, *headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def infer_body(x: np.ndarray, *, binary: bool = False, **parameters: object) -> tuple[bytes, int]:
    """Return the body of an infer request, and the length of its JSON part."""
    given: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": list(x.shape)}
    given |= {"parameters": {"binary_data_size": x.nbytes}} if binary else {"data": x.ravel().tolist()}
    asked = json.dumps({"inputs": [given], "parameters": parameters}).encode()
    return asked + (x.tobytes() if binary else b""), len(asked)


def step(form: str, x: np.ndarray, **parameters: object) -> bytes:
    """An infer request in one of the forms that clients use."""
    body, length = infer_body(x, binary=form == "binary", **parameters)
    match form:
        case "binary":
            return post(body, INFER, f"inference-header-content-length: {length}")
        case "of a version":
            return post(body, "/v2/models/lif/versions/1/infer", "Connection: keep-alive")
        case "packed":
            return post(gzip.compress(body), INFER, "Content-Encoding: gzip")
        case "in chunks":
            half = len(body) // 2
            chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:], b"")]
            return f"POST {INFER} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"".join(chunks)
    return post(body)


INNER = post(infer_body(np.ones((1, 8), np.float32))[0])
OTHERS = {
    "another model, whose body looks like a request": (post(INNER, "/v2/models/none/infer"), 404),
    "another version": (post(INNER, "/v2/models/lif/versions/2/infer"), 404),
    "no JSON, but a request": (post(INNER), 400),
    "nothing": (post(b""), 400),
    "metadata": (b"GET /v2/models/lif HTTP/1.1\r\nHost: here\r\n\r\n", 200),
    "another method": (post(INNER, "/v2/models/lif"), 405),
}
FORMS = ("plain", "binary", "of a version", "packed", "in chunks")


def receive_responses(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Receive exactly ``count`` responses, and return their statuses and bodies."""
    said, found = b"", []
    while len(found) < count:
        head, end, rest = said.partition(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if end and len(rest) >= (size := int(sizes[0].split(b":")[1])):
            found.append((int(head.split(b" ")[1]), rest[:size]))
            said = rest[size:]
            continue
        piece = connection.recv(2**16)
        assert piece, f"the server closed after {len(found)} of {count} responses"
        said += piece
    assert not said
    connection.settimeout(0.002)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from((*FORMS, *FORMS, *OTHERS)), min_size=1, max_size=8),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    pause=st.sampled_from([0, 0.001]),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_response_each(kinds: list[str], cuts: list[float], pause: float, seed: int, served: Any) -> None:
    """Requests of all kinds, split at random bytes, get one correct response each, in order."""
    sequence, drives = next(NEW), np.random.default_rng(seed).random((len(kinds), 1, 8), np.float32) * 25
    said, taken = b"", 0
    for x, form in zip(drives, kinds, strict=True):
        said += OTHERS[form][0] if form in OTHERS else step(form, x, sequence_id=sequence, sequence_start=not taken)
        taken += form not in OTHERS
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = [0, *sorted(int(cut * len(said)) for cut in cuts), len(said)]
        for begin, end in itertools.pairwise(places):
            connection.sendall(said[begin:end])
            time.sleep(pause)
        found = receive_responses(connection, len(kinds))
    bundle = Bundle.open(EXPORT / "lif")
    eager = Eager(bundle)
    eager.start(bundle.initial_state(1))
    for (status, body), x, form in zip(found, drives, kinds, strict=True):
        if form in OTHERS:
            assert status == OTHERS[form][1]
            continue
        assert status == 200
        assert json.loads(body)["outputs"][0]["data"] == eager.step({"x": x})["s"].ravel().tolist()


def test_body_is_not_parsed_as_a_request(served: Any) -> None:
    """A request that is rejected before its body arrives: the body is not parsed as another request."""
    refused = post(INNER, "/v2/models/none/infer")
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(refused[: -len(INNER)])
        assert receive_responses(connection, 1)[0][0] == 404
        connection.settimeout(20)
        connection.sendall(INNER + INNER)
        assert [status for status, _ in receive_responses(connection, 1)] == [200]


LONG = infer_body(np.zeros((1500, 1, 8), np.float32))[0]
"""Enough steps that other requests arrive while they are executed."""


@pytest.mark.parametrize("long", [post(LONG), post(gzip.compress(LONG), INFER, "Content-Encoding: gzip")])
def test_responses_in_order(long: bytes, served: Any) -> None:
    """Pipelined requests are answered in order, also if a later one is finished first."""
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for asked in (long, post(b"no JSON"), long, post(b"no JSON")):  # rejected at once
            connection.sendall(asked)
            time.sleep(0.001)
        assert [status for status, _ in receive_responses(connection, 4)] == [200, 400, 200, 400]


@pytest.fixture(scope="module")
def interpreted(running: Callable) -> Iterator[Any]:
    """A server with a slow runtime: compiled C would answer a long run before the test looks."""
    with running([EXPORT / "lif"], "--allowed-host", "here", "--runtime", "onnxruntime-cpu") as served:
        yield served


def test_long_run_does_not_block_other_connections(interpreted: Any) -> None:
    """While a long run is executed, other connections get responses."""
    body, length = infer_body(np.zeros((200_000, 1, 8), np.float32), binary=True, binary_data_output=True)
    host, port = interpreted.address.split(":")
    place = (host, int(port))
    with socket.create_connection(place, timeout=20) as long, socket.create_connection(place, timeout=20) as other:
        for _ in range(3):  # single steps are fast
            other.sendall(INNER)
            receive_responses(other, 1)
            other.settimeout(20)
        long.sendall(post(body, INFER, f"Inference-Header-Content-Length: {length}"))
        time.sleep(0.05)
        other.sendall(OTHERS["metadata"][0])
        assert receive_responses(other, 1)[0][0] == 200
        long.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has not been answered yet
            long.recv(1)
        long.settimeout(20)
        assert receive_responses(long, 1)[0][0] == 200


def test_shutdown_answers_the_running_request(running: Callable) -> None:
    """On SIGTERM the server completes the running request before it exits."""
    body, length = infer_body(np.zeros((30_000, 1, 8), np.float32), binary=True, binary_data_output=True)
    # Compiled C would answer before SIGTERM is sent.
    with running([EXPORT / "lif"], "--allowed-host", "here", "--runtime", "onnxruntime-cpu") as served:
        host, port = served.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(post(body, INFER, f"Inference-Header-Content-Length: {length}"))
            time.sleep(0.02)
            served.process.terminate()
            said = b""
            while piece := connection.recv(2**20):
                said += piece
    assert said.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in said
    assert said.endswith(bytes(240_000))


@pytest.mark.parametrize("path", [INFER, "/v2/models/none/infer"])
def test_both_paths_are_authorised(path: str, running: Callable) -> None:
    """The fast path and the normal path check the token and the Origin header."""
    body = infer_body(np.ones((1, 8), np.float32))[0]
    with running([EXPORT / "lif"], environment={"DEPLOY_SNN_TOKEN": "secret"}) as served:
        url, passing = f"http://{served.address}{path}", {"Authorization": "Bearer secret"}
        assert httpx.post(url, content=body).status_code == 401
        assert httpx.post(url, content=body, headers={"Authorization": "Bearer guess"}).status_code == 401
        assert httpx.post(url, content=body, headers=passing | {"Origin": "https://example.com"}).status_code == 403
        own = passing | {"Origin": f"http://{served.address}"}
        assert httpx.post(url, content=body, headers=own).status_code == (200 if path == INFER else 404)


@pytest.mark.parametrize("chunked", [False, True])
def test_compression_of_responses(chunked: bool, served: Any) -> None:
    """Large responses are compressed if Accept-Encoding allows gzip."""
    body = infer_body(np.ones((90, 1, 8), np.float32))[0]
    content = iter([body]) if chunked else body
    wide, plain = ({"Accept-Encoding": coding} for coding in ("br, gzip", "identity"))
    packed = httpx.post(f"http://{served.address}{INFER}", content=content, headers=wide)
    assert packed.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in packed.headers["vary"].lower()
    whole = httpx.post(f"http://{served.address}{INFER}", content=body, headers=plain)
    assert "content-encoding" not in whole.headers
    assert packed.content == whole.content
    small = httpx.post(f"http://{served.address}{INFER}", content=INNER.partition(b"\r\n\r\n")[2], headers=wide)
    assert "content-encoding" not in small.headers
