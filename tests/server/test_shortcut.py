"""Infer requests and all others share a connection: one answer each, in order, however they are split and mixed."""

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


def asking(x: np.ndarray, *, binary: bool = False, **parameters: object) -> tuple[bytes, int]:
    """A body, and how long its JSON is."""
    given: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": list(x.shape)}
    given |= {"parameters": {"binary_data_size": x.nbytes}} if binary else {"data": x.ravel().tolist()}
    asked = json.dumps({"inputs": [given], "parameters": parameters}).encode()
    return asked + (x.tobytes() if binary else b""), len(asked)


def step(way: str, x: np.ndarray, **parameters: object) -> bytes:
    """A request for a step, as clients write it."""
    body, length = asking(x, binary=way == "binary", **parameters)
    match way:
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


INNER = post(asking(np.ones((1, 8), np.float32))[0])
OTHERS = {
    "another model, whose body looks like a request": (post(INNER, "/v2/models/none/infer"), 404),
    "another version": (post(INNER, "/v2/models/lif/versions/2/infer"), 404),
    "no JSON, but a request": (post(INNER), 400),
    "nothing": (post(b""), 400),
    "metadata": (b"GET /v2/models/lif HTTP/1.1\r\nHost: here\r\n\r\n", 200),
    "another method": (post(INNER, "/v2/models/lif"), 405),
}
WAYS = ("plain", "binary", "of a version", "packed", "in chunks")


def answers(wire: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Statuses and bodies, as many as were asked for, and nothing behind them."""
    said, found = b"", []
    while len(found) < count:
        head, end, rest = said.partition(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if end and len(rest) >= (size := int(sizes[0].split(b":")[1])):
            found.append((int(head.split(b" ")[1]), rest[:size]))
            said = rest[size:]
            continue
        piece = wire.recv(2**16)
        assert piece, f"the server closed after {len(found)} of {count} answers"
        said += piece
    assert not said
    wire.settimeout(0.002)
    with pytest.raises(TimeoutError):
        wire.recv(1)
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.sampled_from((*WAYS, *WAYS, *OTHERS)), min_size=1, max_size=8),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    pause=st.sampled_from([0, 0.001]),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_answer_each(asked: list[str], cuts: list[float], pause: float, seed: int, served: Any) -> None:
    sequence, drives = next(NEW), np.random.default_rng(seed).random((len(asked), 1, 8), np.float32) * 25
    said, taken = b"", 0
    for x, way in zip(drives, asked, strict=True):
        said += OTHERS[way][0] if way in OTHERS else step(way, x, sequence_id=sequence, sequence_start=not taken)
        taken += way not in OTHERS
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = [0, *sorted(int(cut * len(said)) for cut in cuts), len(said)]
        for begin, end in itertools.pairwise(places):
            wire.sendall(said[begin:end])
            time.sleep(pause)
        found = answers(wire, len(asked))
    bundle = Bundle.open(EXPORT / "lif")
    eager = Eager(bundle)
    eager.start(bundle.initial_state(1))
    for (status, body), x, way in zip(found, drives, asked, strict=True):
        if way in OTHERS:
            assert status == OTHERS[way][1]
            continue
        assert status == 200
        assert json.loads(body)["outputs"][0]["data"] == eager.step({"x": x})["s"].ravel().tolist()


def test_a_body_is_no_request(served: Any) -> None:
    """Of a model that there is not, answered before its body comes: what looks like a request there asks for nothing."""
    refused = post(INNER, "/v2/models/none/infer")
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(refused[: -len(INNER)])
        assert answers(wire, 1)[0][0] == 404
        wire.settimeout(20)
        wire.sendall(INNER + INNER)
        assert [status for status, _ in answers(wire, 1)] == [200]


LONG = asking(np.zeros((1500, 1, 8), np.float32))[0]
"""Steps enough for something else to come while they are taken."""


@pytest.mark.parametrize("long", [post(LONG), post(gzip.compress(LONG), INFER, "Content-Encoding: gzip")])
def test_answers_come_in_the_order_of_requests(long: bytes, served: Any) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        for asked in (long, post(b"no JSON"), long, post(b"no JSON")):  # which is refused at once
            wire.sendall(asked)
            time.sleep(0.001)
        assert [status for status, _ in answers(wire, 4)] == [200, 400, 200, 400]


@pytest.fixture(scope="module")
def interpreted(running: Callable) -> Iterator[Any]:
    """Compiled C would answer a long run before the test looks."""
    with running([EXPORT / "lif"], "--allowed-host", "here", "--runtime", "onnxruntime-cpu") as served:
        yield served


def test_a_long_run_holds_nobody_up(interpreted: Any) -> None:
    body, length = asking(np.zeros((200_000, 1, 8), np.float32), binary=True, binary_data_output=True)
    host, port = interpreted.address.split(":")
    place = (host, int(port))
    with socket.create_connection(place, timeout=20) as long, socket.create_connection(place, timeout=20) as other:
        for _ in range(3):  # single steps, which are quick
            other.sendall(INNER)
            answers(other, 1)
            other.settimeout(20)
        long.sendall(post(body, INFER, f"Inference-Header-Content-Length: {length}"))
        time.sleep(0.05)
        other.sendall(OTHERS["metadata"][0])
        assert answers(other, 1)[0][0] == 200
        long.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has not been answered yet
            long.recv(1)
        long.settimeout(20)
        assert answers(long, 1)[0][0] == 200


def test_a_server_that_ends_answers_first(running: Callable) -> None:
    body, length = asking(np.zeros((30_000, 1, 8), np.float32), binary=True, binary_data_output=True)
    # Compiled C would answer before the server is told to end.
    with running([EXPORT / "lif"], "--allowed-host", "here", "--runtime", "onnxruntime-cpu") as served:
        host, port = served.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as wire:
            wire.sendall(post(body, INFER, f"Inference-Header-Content-Length: {length}"))
            time.sleep(0.02)
            served.process.terminate()
            said = b""
            while piece := wire.recv(2**20):
                said += piece
    assert said.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in said
    assert said.endswith(bytes(240_000))


@pytest.mark.parametrize("path", [INFER, "/v2/models/none/infer"])
def test_both_paths_are_authorised(path: str, running: Callable) -> None:
    body = asking(np.ones((1, 8), np.float32))[0]
    with running([EXPORT / "lif"], environment={"DEPLOY_SNN_TOKEN": "secret"}) as served:
        url, passing = f"http://{served.address}{path}", {"Authorization": "Bearer secret"}
        assert httpx.post(url, content=body).status_code == 401
        assert httpx.post(url, content=body, headers={"Authorization": "Bearer guess"}).status_code == 401
        assert httpx.post(url, content=body, headers=passing | {"Origin": "https://example.com"}).status_code == 403
        own = passing | {"Origin": f"http://{served.address}"}
        assert httpx.post(url, content=body, headers=own).status_code == (200 if path == INFER else 404)


@pytest.mark.parametrize("chunked", [False, True])
def test_large_answers_are_packed_for_who_can_unpack(chunked: bool, served: Any) -> None:
    body = asking(np.ones((90, 1, 8), np.float32))[0]
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
