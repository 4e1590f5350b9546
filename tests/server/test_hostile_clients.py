"""Hostile and broken clients: the server keeps running, its memory stays bounded, and other clients are served."""

import copy
import gzip
import json
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect as websocket

EXPORT = Path(__file__).parent.parent.parent / "export"
NAMES = ("lif", "srm0", "diehl-and-cook")
TIMEOUT = 2
"""The client timeout of this server, in seconds."""
X = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}
GOOD = json.dumps({"inputs": [X]}).encode()
HEAD = b"POST /v2/models/lif/infer HTTP/1.1\r\nHost: here\r\n"
MB = 2**20


@pytest.fixture(scope="module")
def served(running: Callable) -> Iterator[Any]:
    options = ("--client-timeout", TIMEOUT, "--max-streams", 100, "--allowed-host", "here", "--model-control")
    with running([EXPORT / name for name in NAMES], *options) as served:
        yield served


@pytest.fixture
def others(served: Any, client_of: Callable) -> Iterator[None]:
    """Four clients that step during the test: each is compared with eager torch, and none waits for long."""
    numbers = range(1, 5)
    clients = [client_of(number, NAMES[number % 2]) for number in numbers]
    taken, slowest, errors, stop = [0] * len(clients), [0.0], [], threading.Event()

    def step_until_stopped(index: int) -> None:
        try:
            with httpx.Client(base_url=f"http://{served.address}", timeout=60) as http:
                client = clients[index]
                while not stop.is_set():
                    begun = time.monotonic()
                    answer = client.send(http, 3)
                    assert answer.status_code == 200, answer.text
                    slowest[0] = max(slowest[0], time.monotonic() - begun)
                    taken[index] += 1
                    if client.known == client.STEPS:
                        client.known = 0  # it starts the stream again
        except Exception as error:  # noqa: BLE001  (errors of the threads are checked below)
            errors.append(error)

    threads = [threading.Thread(target=step_until_stopped, args=(index,)) for index in range(len(clients))]
    for thread in threads:
        thread.start()
    yield
    before = list(taken)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(now > then for now, then in zip(taken, before, strict=True)), "a client has stopped stepping"
    assert slowest[0] < 30  # up to 8 s were seen on a busy machine


def connect(served: Any) -> socket.socket:
    host, port = served.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def post(body: bytes, *headers: str) -> bytes:
    lines = [*headers, f"Content-Length: {len(body)}"]
    return HEAD + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def receive_all(connection: socket.socket) -> bytes:
    """Receive until the server closes the connection. It may reset it, since it does not read what follows."""
    received = b""
    try:
        while piece := connection.recv(MB):
            received += piece
    except ConnectionError:
        pass
    return received


def receive_response(connection: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer


def status(response: bytes) -> int:
    assert response.startswith(b"HTTP/1.1 "), response[:200]
    return int(response.split(b" ", 2)[1])


def resident(served: Any) -> int:
    """Return the resident memory of the server, in bytes."""
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def bounded(served: Any, most: int) -> Iterator[None]:
    """Check that the server's memory grows by less than ``most`` bytes inside the block."""
    before, peak, stop = resident(served), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], resident(served))

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    stop.set()
    watcher.join()
    assert peak[0] - before < most, f"{(peak[0] - before) / MB:.0f} MB"


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("sent_bytes", "error"),
    [
        (b"", b""),  # no byte
        (HEAD[:20], b""),  # half of the headers
        (post(GOOD)[:-20], b"the body has not arrived within 2 s"),  # half of the body
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"the body has not arrived within 2 s"),
    ],
)
def test_incomplete_request(sent_bytes: bytes, error: bytes, served: Any) -> None:
    """The server closes a connection whose request is not complete after the client timeout."""
    with connect(served) as connection:
        begun = time.monotonic()
        connection.sendall(sent_bytes)
        answer = receive_all(connection)
        assert TIMEOUT - 0.5 < time.monotonic() - begun < TIMEOUT + 3
    assert error in answer
    assert not error or status(answer) == 408


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("packed", [post(GOOD, "X-Long: " + "a" * 200), HEAD + b"Content-Length: 500\r\n\r\n" + GOOD])
def test_slow_request(packed: bytes, served: Any) -> None:
    """The server disconnects a client that sends its headers (slowloris) or its body too slowly."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(served)) for _ in range(20)]
        begun = time.monotonic()
        for begin in range(len(packed)):
            try:
                for connection in connections:
                    connection.sendall(packed[begin : begin + 1])
            except ConnectionError:
                break
            time.sleep(0.1)
        assert time.monotonic() - begun < TIMEOUT + 5


def test_keep_alive_timeout(served: Any) -> None:
    """A keep-alive connection serves later requests; the client timeout applies to a later incomplete request too."""
    with connect(served) as connection:
        for _ in range(3):
            connection.sendall(post(GOOD))
            assert receive_response(connection).status == 200
            time.sleep(TIMEOUT * 0.6)
        begun = time.monotonic()
        connection.sendall(HEAD[:10])
        assert receive_all(connection) == b""
        assert time.monotonic() - begun < TIMEOUT + 2


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("reset", [False, True])
def test_disconnects(reset: bool, served: Any) -> None:
    """Clients may disconnect in the headers, the body, the step and the response. A complete request is executed."""
    drive = np.zeros((20_000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    sequence = f"vanished {reset}"
    head = json.dumps({"inputs": [tensor], "parameters": {"sequence_id": sequence, "sequence_start": True}}).encode()
    whole = post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}")
    for sent_bytes in (HEAD[:20], post(GOOD)[:-5], whole[:-5], whole):
        connection = connect(served)
        connection.sendall(sent_bytes)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    with connect(served) as connection:  # read only the first bytes of a response of 1 MB
        connection.sendall(whole.replace(b"vanished", b"answered"))
        assert connection.recv(10) == b"HTTP/1.1 2"
    with httpx.Client(base_url=f"http://{served.address}/v2/models/lif", timeout=60) as http:
        done = [sequence.replace("vanished", "answered")]
        if not reset:  # a reset discards what the server has not read yet
            done.append(sequence)
        for name in done:
            body = {"inputs": [X], "parameters": {"sequence_id": name, "sequence_end": True}}
            answer = http.post("/infer", json=body)
            assert answer.json()["parameters"]["sequence_step"] == 20_001, answer.text


@pytest.mark.usefixtures("others")
def test_unread_responses(served: Any) -> None:
    """The server disconnects clients that do not read their responses."""
    drive = np.zeros((200_000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(served)) for _ in range(3)]
        for connection in connections:  # `false, ` takes 6 bytes: responses of 9.6 MB
            connection.sendall(post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}"))
        for connection in connections:
            assert connection.recv(10) == b"HTTP/1.1 2"
        time.sleep(TIMEOUT + 3)
        for connection in connections:
            assert len(receive_all(connection)) < 9_600_000, "the whole response was sent"


@pytest.mark.usefixtures("others")
def test_backpressure_on_requests(served: Any) -> None:
    """The server stops reading requests from a client that does not read its responses."""
    drive = np.zeros((8000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()
    asked = post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}")
    with bounded(served, 100 * MB), connect(served) as connection, suppress(OSError):
        for _ in range(800):  # responses of 300 MB in total
            connection.sendall(asked)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("header", [b"Content-Length: %d\r\n\r\n" % 2**30, b"Transfer-Encoding: chunked\r\n\r\n"])
def test_body_of_a_gigabyte(header: bytes, served: Any) -> None:
    """A body that is too large is rejected before all of it arrives, with or without a Content-Length."""
    piece, sent = b" " * MB, 0
    if b"chunked" in header:
        piece = b"%x\r\n" % MB + piece + b"\r\n"
    with bounded(served, 300 * MB), connect(served) as connection:
        connection.sendall(HEAD + header)
        try:
            while sent < 1024:
                connection.sendall(piece)
                sent += 1
        except ConnectionError:
            pass
        response = receive_all(connection)
    assert sent < 200
    assert not response or status(response) == 413


@pytest.mark.usefixtures("others")
def test_gzip_bombs(served: Any) -> None:
    """Gzip bombs are rejected: a gigabyte of spaces, a gigabyte after the end of the stream, and a bomb in a bomb."""
    bomb = gzip.compress(b" " * 2**30, 1)
    with bounded(served, 300 * MB), httpx.Client(base_url=f"http://{served.address}/v2/models/lif", timeout=60) as http:

        def tail() -> Iterator[bytes]:
            yield gzip.compress(GOOD)
            for _ in range(1024):
                yield b"\0" * MB

        packed = {"Content-Encoding": "gzip"}
        assert http.post("/infer", content=bomb, headers=packed).status_code == 413
        try:
            answer = http.post("/infer", content=tail(), headers=packed)
        except httpx.TransportError:  # the connection was closed before the response was read
            pass
        else:
            assert (answer.status_code, "data after the end" in answer.text) == (400, True)
        twice = http.post("/infer", content=gzip.compress(bomb), headers=packed)
        assert (twice.status_code, "the request is not valid JSON" in twice.text) == (400, True)


INVALID_FRAMING = [
    (HEAD + b"Content-Length: 10\r\n\r\n" + GOOD, {400}),  # the rest is parsed as another request
    (HEAD + b"Content-Length: -1\r\n\r\n" + GOOD, {400}),
    (HEAD + b"Content-Length: 1e3\r\n\r\n" + GOOD, {400}),
    (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + GOOD, {400, 408}),
    (HEAD + b"Content-Length: 10\r\nContent-Length: 20\r\n\r\n" + GOOD, {400}),
    (HEAD + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    (HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(GOOD) + GOOD, {400}),
    (HEAD + b"Content-Length: %d\r\n" % len(GOOD) * 2 + b"\r\n" + GOOD, {400}),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + GOOD, {400, 501}),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + GOOD, {400}),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + GOOD, {400}),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + GOOD, {400, 408}),
    (HEAD + b"X-Large: " + b"a" * 10 * MB + b"\r\n\r\n", {400, 431}),
    (b"GET / HTTP/1.2.3\r\n\r\n", {400}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {400}),  # a TLS handshake
]


@pytest.mark.parametrize(("sent_bytes", "statuses"), INVALID_FRAMING)
def test_invalid_framing(sent_bytes: bytes, statuses: set[int], served: Any) -> None:
    """Requests with a wrong length or an invalid encoding are rejected, or the connection is closed."""
    with connect(served) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent_bytes)
        answer = receive_all(connection)
        assert not answer or status(answer) in statuses, answer[:300]


@pytest.mark.parametrize("first", [True, False])
def test_invalid_body_after_rejected_headers(first: bool, served: Any) -> None:
    """A rejected request gets one response, whether its invalid body arrives with the headers or after the response."""
    with connect(served) as connection:
        head = HEAD.replace(b"lif", b"none") + b"Transfer-Encoding: chunked\r\n\r\n"
        if first:
            connection.sendall(head)
            assert receive_response(connection).status == 404
            connection.sendall(b"garbage\r\n")
            assert receive_all(connection) == b""
        else:
            connection.sendall(head + b"garbage\r\n")
            assert receive_all(connection).count(b"HTTP/1.1 400") == 1


def test_out_of_file_descriptors(running: Callable) -> None:
    """The server survives running out of file descriptors, without a traceback (``running`` checks the log)."""
    with running([EXPORT / "lif"], "--allowed-host", "here") as served:
        process = served.process.pid
        limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
        assert limits[0] == limits[1]
        most = len(list(Path(f"/proc/{process}/fd").iterdir())) + 10
        resource.prlimit(process, resource.RLIMIT_NOFILE, (most, limits[1]))
        with ExitStack() as stack:
            for connection in [stack.enter_context(connect(served)) for _ in range(50)]:
                with suppress(ConnectionError):
                    connection.sendall(HEAD)
            time.sleep(0.5)
        for attempt in range(50):  # until the server has noticed the closed connections
            try:
                with connect(served) as connection:
                    connection.sendall(post(GOOD))
                    assert receive_response(connection).status == 200
                break
            except ConnectionError:
                assert attempt < 49
                time.sleep(0.1)


@pytest.mark.usefixtures("others")
def test_a_thousand_connections(served: Any) -> None:
    """A thousand connections at the same time are all served."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(served)) for _ in range(1000)]
        for connection in connections:
            connection.sendall(post(GOOD))
        for connection in connections:
            assert receive_response(connection).status == 200


BINARY = json.dumps({"inputs": [X | {"data": None, "parameters": {"binary_data_size": 32}}]}).encode()
STATE = b"PUT /v2/models/lif/sequences/fuzzed/state HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s"
REQUESTS = [
    post(GOOD),
    post(BINARY + bytes(32), f"Inference-Header-Content-Length: {len(BINARY)}"),
    post(gzip.compress(GOOD), "Content-Encoding: gzip"),
    STATE % (84, b"\x4c" + bytes(7) + b'{"v":{"dtype":"F32","shape":[1,0],"data_offsets":[0,0]},"__metadata__":{}}  '),
    b"POST /v2/repository/models/lif/load HTTP/1.1\r\nHost: here\r\n\r\n",
    b"GET /v2/models/lif/sequences/%221%22/state HTTP/1.1\r\nHost: here\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD),
]
TOKENS = [
    b"\r\n",
    b"\0",
    b"\xff",
    b"-",
    b"9" * 400,
    b"1e999",
    b"NaN",
    b"[" * 2000,
    b'"',
    b"{}",
    b"null",
    b"true",
    b"%00",
    b"../",
    b"\\ud800",
]
FULL = {
    "id": "7",
    "inputs": [X | {"parameters": {}}],
    "outputs": [{"name": "s", "parameters": {"binary_data": False}}],
    "parameters": {"sequence_id": "odd", "sequence_start": True, "sequence_end": True, "sequence_step": 0, "seed": 1},
}
UNUSUAL_VALUES = [
    None,
    True,
    0,
    -1,
    2**64,
    10**30,
    10**4000,
    1e999,
    "",
    "\ud800",
    "a" * 1000,
    [],
    [0] * 100,
    [0, 10**30],
    [[1], []],
    {},
]
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request with pieces removed, duplicated and inserted. Its Content-Length is corrected, or not."""
    whole = bytearray(draw(st.sampled_from(REQUESTS)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(whole)))
        end = min(len(whole), begin + draw(st.sampled_from([0, 1, 2, 8, 40])))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12), st.just(bytes(whole[begin:end]) * 2)))
        whole[begin:end] = new
    head, split, body = bytes(whole).partition(b"\r\n\r\n")
    if split and b"Content-Length: " in head and draw(st.booleans()):
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
    return head + split + body


@st.composite
def replaced_values(draw: st.DrawFn) -> bytes:
    """A valid request with some JSON values replaced."""
    whole = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 2))):
        place: Any = whole
        while True:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if not place[key] or not isinstance(place[key], dict | list) or draw(st.booleans()):
                break
            place = place[key]
        place[key] = copy.deepcopy(draw(st.sampled_from(UNUSUAL_VALUES)))
    return post(json.dumps(whole).encode())


@pytest.mark.usefixtures("others")
@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=SUPPRESSED)
@given(sent_bytes=st.one_of(st.binary(max_size=300), mutated(), mutated(), replaced_values(), replaced_values()))
def test_random_bytes(sent_bytes: bytes, served: Any) -> None:
    """No input causes a 5xx response, and the server keeps running."""
    with connect(served) as connection:
        try:
            connection.sendall(sent_bytes)
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        answer = receive_all(connection)
        for part in answer.split(b"HTTP/1.1 ")[1:]:
            assert int(part[:3]) < 500, (sent_bytes, answer)


def test_idle_websocket(served: Any) -> None:
    """The client timeout does not apply to an open WebSocket."""
    with websocket(f"ws://{served.address}/v2/models/lif/stream") as connection:
        connection.recv()
        time.sleep(TIMEOUT * 2)
        connection.send(bytes(32))
        assert connection.recv() == bytes(8)


UPGRADE = b"Connection: Upgrade\r\nUpgrade: %s\r\n"
HANDSHAKE = (
    b"GET /v2/models/lif/stream HTTP/1.1\r\nHost: here\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + UPGRADE % b"websocket"
)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"x"])
@pytest.mark.parametrize("body", [b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD, b"Transfer-Encoding: chunked\r\n\r\n"])
def test_upgrade_with_body(protocol: bytes, body: bytes, served: Any) -> None:
    """An upgrade request with a body is rejected, and bytes after it are not parsed as another request."""
    with connect(served) as connection:
        connection.sendall(HEAD + UPGRADE % protocol + body + post(GOOD))
        answer = receive_all(connection)
        assert (status(answer), answer.count(b"HTTP/1.1 ")) == (400, 1)


def test_ignored_upgrade(served: Any) -> None:
    """An upgrade that the server does not support gets a plain HTTP response, and the connection is closed at once."""
    with connect(served) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: here\r\n" + UPGRADE % b"h2c" + b"\r\n")
        begun = time.monotonic()
        assert status(receive_all(connection)) == 200
        assert time.monotonic() - begun < TIMEOUT, "the connection was not closed at once"


@pytest.mark.parametrize("rest", [b"Content-Length: 5\r\n\r\n", b"X: y\r\n" * 200 + b"\r\n"])
def test_failed_websocket_handshakes(rest: bytes, served: Any) -> None:
    """WebSocket handshakes with a body, or with too many headers for the WebSocket library, are rejected."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(served)) for _ in range(50)]
        for connection in connections:
            connection.settimeout(TIMEOUT + 3)
            connection.sendall(HANDSHAKE + rest)
        for connection in connections:
            assert not receive_all(connection).startswith(b"HTTP/1.1 101")


def test_shutdown_with_an_incomplete_request(running: Callable) -> None:
    """On SIGTERM the server waits for an incomplete request no longer than the client timeout."""
    with (
        running([EXPORT / "lif"], "--client-timeout", 1, "--allowed-host", "here") as served,
        connect(served) as connection,
    ):
        connection.sendall(post(GOOD)[:-1])
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        assert time.monotonic() - begun < 5
