"""Hostile and unlucky clients: the server stays up, small and polite, and other clients do not notice them."""

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
"""Seconds that this server waits for a client."""
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
    """Four clients that step all the while, each held against eager torch, and none of which waits for long."""
    numbers = range(1, 5)
    clients = [client_of(number, NAMES[number % 2]) for number in numbers]
    taken, slowest, errors, stop = [0] * len(clients), [0.0], [], threading.Event()

    def talk(index: int) -> None:
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
                        client.known = 0  # and starts anew
        except Exception as error:  # noqa: BLE001  (a thread's errors are told below)
            errors.append(error)

    threads = [threading.Thread(target=talk, args=(index,)) for index in range(len(clients))]
    for thread in threads:
        thread.start()
    yield
    before = list(taken)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(now > then for now, then in zip(taken, before, strict=True)), "they go on"
    assert slowest[0] < 30  # a busy machine has taken 8


def connect(served: Any) -> socket.socket:
    host, port = served.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def post(body: bytes, *headers: str) -> bytes:
    lines = [*headers, f"Content-Length: {len(body)}"]
    return HEAD + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def all_it_says(wire: socket.socket) -> bytes:
    """What comes until the server closes; the connection may be cut then, as it does not read what follows."""
    said = b""
    try:
        while piece := wire.recv(MB):
            said += piece
    except ConnectionError:
        pass
    return said


def one_answer(wire: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(wire)
    answer.begin()
    answer.read()
    return answer


def status(said: bytes) -> int:
    assert said.startswith(b"HTTP/1.1 "), said[:200]
    return int(said.split(b" ", 2)[1])


def resident(served: Any) -> int:
    """Bytes of memory that the server takes."""
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def bounded(served: Any, most: int) -> Iterator[None]:
    """Within, the server's memory is watched: it must not grow by more than this."""
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
    ("said", "told"),
    [
        (b"", b""),  # not a word
        (HEAD[:20], b""),  # half a head
        (post(GOOD)[:-20], b"the body has not arrived within 2 s"),  # half a body
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"the body has not arrived within 2 s"),
    ],
)
def test_half_a_request_and_silence(said: bytes, told: bytes, served: Any) -> None:
    with connect(served) as wire:
        begun = time.monotonic()
        wire.sendall(said)
        answer = all_it_says(wire)
        assert TIMEOUT - 0.5 < time.monotonic() - begun < TIMEOUT + 3
    assert told in answer
    assert not told or status(answer) == 408


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("packed", [post(GOOD, "X-Long: " + "a" * 200), HEAD + b"Content-Length: 500\r\n\r\n" + GOOD])
def test_a_byte_every_tenth_of_a_second(packed: bytes, served: Any) -> None:
    """Slow heads (slow-loris) and slow bodies: a client that says little for long is let go as well."""
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(served)) for _ in range(20)]
        begun = time.monotonic()
        for begin in range(len(packed)):
            try:
                for wire in wires:
                    wire.sendall(packed[begin : begin + 1])
            except ConnectionError:
                break
            time.sleep(0.1)
        assert time.monotonic() - begun < TIMEOUT + 5


def test_a_connection_that_rests_between_requests(served: Any) -> None:
    """Half of a later request counts as half of a first one; a whole one in time is answered."""
    with connect(served) as wire:
        for _ in range(3):
            wire.sendall(post(GOOD))
            assert one_answer(wire).status == 200
            time.sleep(TIMEOUT * 0.6)
        begun = time.monotonic()
        wire.sendall(HEAD[:10])
        assert all_it_says(wire) == b""
        assert time.monotonic() - begun < TIMEOUT + 2


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_vanish(reset: bool, served: Any) -> None:
    """In the head, in the body, while they are stepped, and in the answer. What was asked in full has been done."""
    drive = np.zeros((20_000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    sequence = f"vanished {reset}"
    head = json.dumps({"inputs": [tensor], "parameters": {"sequence_id": sequence, "sequence_start": True}}).encode()
    whole = post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}")
    for said in (HEAD[:20], post(GOOD)[:-5], whole[:-5], whole):
        wire = connect(served)
        wire.sendall(said)
        if reset:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    with connect(served) as wire:  # its answer of 1 MB begins, and nobody reads on
        wire.sendall(whole.replace(b"vanished", b"answered"))
        assert wire.recv(10) == b"HTTP/1.1 2"
    with httpx.Client(base_url=f"http://{served.address}/v2/models/lif", timeout=60) as http:
        done = [sequence.replace("vanished", "answered")]
        if not reset:  # which takes back what the server has not read yet
            done.append(sequence)
        for name in done:
            body = {"inputs": [X], "parameters": {"sequence_id": name, "sequence_end": True}}
            answer = http.post("/infer", json=body)
            assert answer.json()["parameters"]["sequence_step"] == 20_001, answer.text


@pytest.mark.usefixtures("others")
def test_answers_that_nobody_reads(served: Any) -> None:
    """They are let go in the end, and their memory with them."""
    drive = np.zeros((200_000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(served)) for _ in range(3)]
        for wire in wires:  # a false is 6 bytes: answers of 9.6 MB
            wire.sendall(post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}"))
        for wire in wires:
            assert wire.recv(10) == b"HTTP/1.1 2"
        time.sleep(TIMEOUT + 3)
        for wire in wires:
            assert len(all_it_says(wire)) < 9_600_000, "it was cut"


@pytest.mark.usefixtures("others")
def test_requests_of_somebody_who_reads_no_answer(served: Any) -> None:
    """While answers wait for their client, its requests wait, too."""
    drive = np.zeros((8000, 1, 8), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(drive.shape), "parameters": {"binary_data_size": drive.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()
    asked = post(head + drive.tobytes(), f"Inference-Header-Content-Length: {len(head)}")
    with bounded(served, 100 * MB), connect(served) as wire, suppress(OSError):
        for _ in range(800):  # answers of 300 MB in all
            wire.sendall(asked)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("header", [b"Content-Length: %d\r\n\r\n" % 2**30, b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_gigabyte(header: bytes, served: Any) -> None:
    """Refused before it is all there, whether it is announced or not, and not kept."""
    piece, sent = b" " * MB, 0
    if b"chunked" in header:
        piece = b"%x\r\n" % MB + piece + b"\r\n"
    with bounded(served, 300 * MB), connect(served) as wire:
        wire.sendall(HEAD + header)
        try:
            while sent < 1024:
                wire.sendall(piece)
                sent += 1
        except ConnectionError:
            pass
        said = all_it_says(wire)
    assert sent < 200
    assert not said or status(said) == 413


@pytest.mark.usefixtures("others")
def test_bombs(served: Any) -> None:
    """A gigabyte of blanks in a megabyte; a small body with a gigabyte behind it; and in vain, one in another."""
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
        except httpx.TransportError:  # cut before it was said
            pass
        else:
            assert (answer.status_code, "data after the end" in answer.text) == (400, True)
        twice = http.post("/infer", content=gzip.compress(bomb), headers=packed)
        assert (twice.status_code, "the request is not valid JSON" in twice.text) == (400, True)


LIES = [
    (HEAD + b"Content-Length: 10\r\n\r\n" + GOOD, {400}),  # the rest is taken for another request
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
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {400}),  # somebody speaks TLS
]


@pytest.mark.parametrize(("said", "statuses"), LIES)
def test_lies(said: bytes, statuses: set[int], served: Any) -> None:
    with connect(served) as wire:
        with suppress(ConnectionError):
            wire.sendall(said)
        answer = all_it_says(wire)
        assert not answer or status(answer) in statuses, answer[:300]


@pytest.mark.parametrize("first", [True, False])
def test_garbage_behind_a_head_that_is_refused(first: bool, served: Any) -> None:
    """The head alone is answered, before the garbage is read or at the same time: one answer, and no failure."""
    with connect(served) as wire:
        head = HEAD.replace(b"lif", b"none") + b"Transfer-Encoding: chunked\r\n\r\n"
        if first:
            wire.sendall(head)
            assert one_answer(wire).status == 404
            wire.sendall(b"garbage\r\n")
            assert all_it_says(wire) == b""
        else:
            wire.sendall(head + b"garbage\r\n")
            assert all_it_says(wire).count(b"HTTP/1.1 400") == 1


def test_more_connections_than_descriptors(running: Callable) -> None:
    """Some are refused, without a traceback in the log, which ``running`` looks for; then all is as before."""
    with running([EXPORT / "lif"], "--allowed-host", "here") as served:
        process = served.process.pid
        limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
        assert limits[0] == limits[1]
        most = len(list(Path(f"/proc/{process}/fd").iterdir())) + 10
        resource.prlimit(process, resource.RLIMIT_NOFILE, (most, limits[1]))
        with ExitStack() as stack:
            for wire in [stack.enter_context(connect(served)) for _ in range(50)]:
                with suppress(ConnectionError):
                    wire.sendall(HEAD)
            time.sleep(0.5)
        for attempt in range(50):  # until it has noticed that they went away
            try:
                with connect(served) as wire:
                    wire.sendall(post(GOOD))
                    assert one_answer(wire).status == 200
                break
            except ConnectionError:
                assert attempt < 49
                time.sleep(0.1)


@pytest.mark.usefixtures("others")
def test_a_thousand_connections(served: Any) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(served)) for _ in range(1000)]
        for wire in wires:
            wire.sendall(post(GOOD))
        for wire in wires:
            assert one_answer(wire).status == 200


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
HOOKS = [
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
ODD = [
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
    """A request that was good, with pieces cut out, doubled and put in; its lengths are right again, or not."""
    whole = bytearray(draw(st.sampled_from(REQUESTS)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(whole)))
        end = min(len(whole), begin + draw(st.sampled_from([0, 1, 2, 8, 40])))
        new = draw(st.one_of(st.sampled_from(HOOKS), st.binary(max_size=12), st.just(bytes(whole[begin:end]) * 2)))
        whole[begin:end] = new
    head, split, body = bytes(whole).partition(b"\r\n\r\n")
    if split and b"Content-Length: " in head and draw(st.booleans()):
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
    return head + split + body


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """A request that was good, some of whose values are others."""
    whole = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 2))):
        place: Any = whole
        while True:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if not place[key] or not isinstance(place[key], dict | list) or draw(st.booleans()):
                break
            place = place[key]
        place[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return post(json.dumps(whole).encode())


@pytest.mark.usefixtures("others")
@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=SUPPRESSED)
@given(said=st.one_of(st.binary(max_size=300), mutated(), mutated(), odd(), odd()))
def test_random_bytes(said: bytes, served: Any) -> None:
    """Whatever is said, nothing is answered as a failure of the server's, and it is still there."""
    with connect(served) as wire:
        try:
            wire.sendall(said)
            wire.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        answer = all_it_says(wire)
        for part in answer.split(b"HTTP/1.1 ")[1:]:
            assert int(part[:3]) < 500, (said, answer)


def test_a_websocket_may_rest(served: Any) -> None:
    """What bounds a request does not bound a connection that has become something else."""
    with websocket(f"ws://{served.address}/v2/models/lif/stream") as wire:
        wire.recv()
        time.sleep(TIMEOUT * 2)
        wire.send(bytes(32))
        assert wire.recv() == bytes(8)


UPGRADE = b"Connection: Upgrade\r\nUpgrade: %s\r\n"
HANDSHAKE = (
    b"GET /v2/models/lif/stream HTTP/1.1\r\nHost: here\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + UPGRADE % b"websocket"
)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"x"])
@pytest.mark.parametrize("body", [b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD, b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_upgrade_with_a_body(protocol: bytes, body: bytes, served: Any) -> None:
    """It is refused, and what follows on the connection is not read as a request."""
    with connect(served) as wire:
        wire.sendall(HEAD + UPGRADE % protocol + body + post(GOOD))
        answer = all_it_says(wire)
        assert (status(answer), answer.count(b"HTTP/1.1 ")) == (400, 1)


def test_an_upgrade_that_is_ignored(served: Any) -> None:
    with connect(served) as wire:
        wire.sendall(b"GET /v2 HTTP/1.1\r\nHost: here\r\n" + UPGRADE % b"h2c" + b"\r\n")
        begun = time.monotonic()
        assert status(all_it_says(wire)) == 200
        assert time.monotonic() - begun < TIMEOUT, "it is closed at once"


@pytest.mark.parametrize("rest", [b"Content-Length: 5\r\n\r\n", b"X: y\r\n" * 200 + b"\r\n"])
def test_half_open_websockets(rest: bytes, served: Any) -> None:
    """Handshakes that come to nothing: a body that is announced, more headers than the WebSocket library takes."""
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(served)) for _ in range(50)]
        for wire in wires:
            wire.settimeout(TIMEOUT + 3)
            wire.sendall(HANDSHAKE + rest)
        for wire in wires:
            assert not all_it_says(wire).startswith(b"HTTP/1.1 101")


def test_a_client_that_reads_nothing_does_not_hold_the_end_up(running: Callable) -> None:
    """Asked to end, the server waits for nobody for longer than for any client."""
    with running([EXPORT / "lif"], "--client-timeout", 1, "--allowed-host", "here") as served, connect(served) as wire:
        wire.sendall(post(GOOD)[:-1])
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        assert time.monotonic() - begun < 5
