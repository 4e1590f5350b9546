"""Hostile and unlucky clients: the server stays up, tells them so where it can, and others do not notice."""

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from deploy_snn.formats import Bundle
from deploy_snn.runtimes import Eager
from deploy_snn.trace import record

EXPORT = Path(__file__).parent.parent.parent / "export"
PATIENCE = 3
"""Seconds that this server waits for a request to come in."""
X = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}
BODY = json.dumps({"inputs": [X]}).encode()
HEAD = b"POST /v2/models/lif/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


class Others:
    """A client that steps its stream all the while, and holds each answer against eager torch."""

    def __init__(self, address: str) -> None:
        self.address, self.slowest, self.steps = address, 0.0, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: Exception | None = None

    def _run(self) -> None:
        bundle = Bundle.open(EXPORT / "lif")
        x = 25 * np.random.default_rng(0).random((50, 1, 8), np.float32)
        wanted = record(Eager(bundle).program, {"x": x}, bundle.initial_state(1)).outputs["s"]
        try:
            with httpx.Client(base_url=f"http://{self.address}/v2", timeout=60) as http:
                while not self._end.is_set():
                    place = self.steps % len(x)
                    parameters = {"sequence_id": "others", "sequence_start": place == 0}
                    tensor = X | {"data": x[place].ravel().tolist()}
                    begun = time.monotonic()
                    answer = http.post("/models/lif/infer", json={"inputs": [tensor], "parameters": parameters})
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    assert_array_equal(np.array(answer.raise_for_status().json()["outputs"][0]["data"]), wanted[place, 0])
                    self.steps += 1
                    time.sleep(0.005)
        except Exception as error:  # noqa: BLE001  (it is raised where it is seen)
            self.error = error

    @contextmanager
    def served(self) -> Iterator["Others"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._end.set()
            self._thread.join()
        if self.error:
            raise self.error


@pytest.fixture(scope="module")
def served(running: Callable) -> Iterator[object]:
    with running([EXPORT / "lif"], "--request-timeout", PATIENCE) as each, Others(each.address).served() as others:
        yield each
        assert others.steps > 100
        assert others.slowest < 5
        assert 'outcome="failed"' not in httpx.get(f"http://{each.address}/metrics").text


def dial(served: object) -> socket.socket:
    host, port = served.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except (ConnectionResetError, TimeoutError):
        pass
    return received


def memory(served: object) -> int:
    """The most bytes of memory that the server ever had in use."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_slow_requests(served: object) -> None:
    """A head that comes a byte at a time is waited for; a body that does so takes too long."""
    got = {}

    def drip(name: str, begun: bytes, slow: bytes, rest: bytes) -> None:
        with dial(served) as connection:
            connection.sendall(begun)
            try:
                for byte in slow:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)
                connection.sendall(rest)
            except OSError:
                pass  # it hung up
            got[name] = all_of(connection)

    head = HEAD % len(BODY)
    drips = [
        threading.Thread(target=drip, args=("head", b"", head[:40], head[40:] + BODY)),
        threading.Thread(target=drip, args=("body", head, BODY[:50], BODY[50:])),
    ]
    for thread in drips:
        thread.start()
    for thread in drips:
        thread.join()
    assert got["head"].startswith(b"HTTP/1.1 200 ")
    assert got["body"].startswith(b"HTTP/1.1 408 ")
    assert b"the body did not come within 3 s" in got["body"]


def test_half_a_request(served: object) -> None:
    for sent in (HEAD[:20], HEAD % len(BODY), HEAD % len(BODY) + BODY[:30]):
        with dial(served) as connection:
            connection.sendall(sent)
    for _ in range(100):
        dial(served).close()


def test_clients_that_vanish(served: object) -> None:
    """In the middle of a long chunk, which is stepped all the same; and of a long answer."""
    x = np.zeros((200_000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": x.nbytes}}
    parameters = {"sequence_id": "ghost", "sequence_start": True}
    asked = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    head = HEAD.replace(b"\r\n\r\n", b"\r\nInference-Header-Content-Length: %d\r\n\r\n")
    for pause in (0.0, 0.3):
        with dial(served) as connection:
            connection.sendall(head % (len(asked) + x.nbytes, len(asked)) + asked + x.tobytes())
            time.sleep(pause)
            if pause:
                connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, and no farewell
    for _ in range(300):
        state = httpx.get(f"http://{served.address}/v2/models/lif/sequences/ghost/state")
        if state.headers.get("sequence-step") == "200000":
            return
        time.sleep(0.1)
    raise AssertionError(state.headers)


def test_bodies_that_are_too_large(served: object) -> None:
    """A gigabyte is turned away before it is there, by its length or on its way; a bomb is not unpacked."""
    before = memory(served)

    def gigabyte() -> Iterator[bytes]:
        for _ in range(1024):
            yield bytes(2**20)

    url = f"http://{served.address}/v2/models/lif/infer"
    for headers in ({"Content-Length": str(2**30)}, {}):
        try:
            response = httpx.post(url, content=gigabyte(), headers=headers, timeout=60)
            assert response.status_code == 413
        except httpx.WriteError:
            pass  # it hung up, as it may, on one who went on talking
    bomb = gzip.compress(bytes(2**30), 9)
    assert httpx.post(url, content=bomb, headers={"Content-Encoding": "gzip"}, timeout=60).status_code == 413
    assert memory(served) - before < 2**28


def test_answers_that_nobody_reads(served: object) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [100_000, 1, 8], "data": [0.0] * 800_000}
    body = json.dumps({"inputs": [x]}).encode()
    unread = []
    for _ in range(5):
        unread.append(dial(served))
        unread[-1].sendall(HEAD % len(body) + body)
    time.sleep(2)
    assert httpx.get(f"http://{served.address}/v2/health/live", timeout=5).status_code == 200
    for connection in unread:
        connection.close()


def test_five_hundred_connections_at_once(served: object) -> None:
    connections = [dial(served) for _ in range(500)]
    for connection in connections:
        connection.sendall(HEAD % len(BODY) + BODY)
    for connection in connections:
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.close()


def mutated(requests: list[bytes]) -> st.SearchStrategy[bytes]:
    """Requests with pieces cut out, put in, or replaced."""

    def mutate(request: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for place, length, piece in edits:
            at = place % (len(request) + 1)
            request = request[:at] + piece + request[at + length :]
        return request

    edit = st.tuples(st.integers(0, 2**16), st.integers(0, 20), st.binary(max_size=20))
    return st.builds(mutate, st.sampled_from(requests), st.lists(edit, min_size=1, max_size=4))


def whole(asked: object, binary: bytes = b"", path: bytes = b"lif/infer") -> bytes:
    body = json.dumps(asked).encode()
    length = b"Inference-Header-Content-Length: %d\r\n" % len(body) if binary else b""
    head = b"POST /v2/models/" + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + length
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) + len(binary)) + body + binary


BINARY = X | {"parameters": {"binary_data_size": 32}, "data": None}
REQUESTS = [
    whole({"inputs": [X], "parameters": {"sequence_id": "fuzzed", "sequence_start": True, "seed": 5}, "id": "1"}),
    whole({"inputs": [BINARY], "parameters": {"binary_data_output": True}}, bytes(32)),
    whole({"inputs": [X], "outputs": [{"name": "s", "parameters": {"binary_data": True}}]}, path=b"lif/versions/1/infer"),
    b"GET /v2/models/lif/sequences/fuzzed/state HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked") + b'5\r\n{"inp\r\n0\r\n\r\n',
]


@settings(
    max_examples=int(os.environ.get("DEPLOY_SNN_FUZZ", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.one_of(st.binary(max_size=500), mutated(REQUESTS)))
@example(REQUESTS[0])
@example(REQUESTS[1])
def test_random_bytes(served: object, sent: bytes) -> None:
    """Whatever comes over the wire, no answer is the server's own mistake. ``DEPLOY_SNN_FUZZ`` is how many are tried."""
    with dial(served) as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)  # most of these are never complete, and have no answer to wait for
        received = all_of(connection)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")
    assert not received.startswith(b"HTTP/1.1 5")
