"""Fuzz HTTP, WebSocket and gRPC: the server does not fail, and the stream of another client stays exact.

``DEPLOY_SNN_FUZZ_SECONDS`` sets how long each protocol takes; ``make chaos`` runs each for a minute.
"""

import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from deploy_snn.server.rpc.messages import SERVICE, message, methods

EXPORT = Path(__file__).parent.parent.parent / "export"
SECONDS = float(os.environ.get("DEPLOY_SNN_FUZZ_SECONDS", "3"))
ATTEMPTS = 60
NAMES = ("lif", "srm0")
X = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [9.0] * 8}
PIECES = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"\r\n",
    b"-1",
    b"9" * 40,
    b"1e999",
    b"NaN",
    b"[" * 500,
    b"]",
    b"{}",
    b"null",
    b'"',
    b"\\ud800",
    b"%00",
    b"../",
    b"sequence_id",
    b"x",
    b"s",
    b"FP32",
    b"BYTES",
    struct.pack("<q", -1),
    struct.pack("<f", float("inf")),
)
CLIENT_ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAVAILABLE,  # the limit of streams is reached
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def served(running: Callable, free_port: Callable[[], int]) -> Iterator[tuple[Any, int]]:
    """A running server and its gRPC port."""
    port = free_port()
    options = ("--client-timeout", 1, "--max-streams", 200, "--log-level", "warning", "--model-control")
    with running([EXPORT / name for name in NAMES], *options, "--grpc-port", port) as served:
        yield served, port


@pytest.fixture
def other_client(served: tuple[Any, int], client_of: Callable) -> Iterator[None]:
    """A client that steps its stream during the test. Afterwards the server must be the same process, and ready."""
    client, stop, errors = client_of(3, "lif"), threading.Event(), []

    def step() -> None:
        try:
            with httpx.Client(base_url=f"http://{served[0].address}", timeout=30) as http:
                while not stop.is_set():
                    client.known %= client.STEPS
                    answer = client.send(http, 3)
                    assert answer.status_code == 200, answer.text
                    time.sleep(0.005)
        except BaseException as error:  # noqa: BLE001  (checked below)
            errors.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not errors, errors
    assert client.known, "the client took no step"
    assert served[0].process.poll() is None
    assert httpx.get(f"http://{served[0].address}/v2/health/ready").status_code == 200


def mutate(chance: random.Random, whole: bytes) -> bytes:
    """Remove, repeat, flip and insert pieces of a message. One in eight is unchanged, one in sixteen is random bytes."""
    kind = chance.randrange(16)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    changed = bytearray(whole)
    for _ in range(0 if kind < 3 else chance.randint(1, 4)):
        begin = chance.randint(0, len(changed))
        end = min(len(changed), begin + chance.choice((0, 1, 1, 2, 4, 16)))
        piece = bytes(changed[begin:end])
        flipped = bytes(byte ^ (1 << chance.randrange(8)) for byte in piece)
        changed[begin:end] = chance.choice((flipped, piece * 3, chance.choice(PIECES), chance.randbytes(2)))
    return bytes(changed)


def random_generators() -> Iterator[random.Random]:
    """Yield seeded random generators for ``SECONDS``, and at least ``ATTEMPTS``, however slow the machine is."""
    begun, number = time.monotonic(), 0
    while number < ATTEMPTS or time.monotonic() - begun < SECONDS:
        yield random.Random(number)
        number += 1


def connect(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def connect_with_retries(port: int) -> socket.socket:
    """Connect to a port, and retry while it is closed."""
    for _ in range(100):
        with suppress(ConnectionRefusedError):
            return connect(f"127.0.0.1:{port}")
        time.sleep(0.05)
    raise AssertionError("gRPC was not started again")


def exchange(connection: socket.socket, sent_bytes: bytes, wait: float | None = None) -> bytes:
    """Send bytes, then receive until the server closes or for ``wait`` seconds. Without ``wait``, half-close first."""
    answer = b""
    with suppress(ConnectionError):
        connection.sendall(sent_bytes)
        if wait is None:
            connection.shutdown(socket.SHUT_WR)
        else:
            connection.settimeout(wait)
    with suppress(ConnectionError, TimeoutError):
        while piece := connection.recv(2**16):
            answer += piece
    return answer


def infer_body(chance: random.Random) -> bytes:
    parameters = {
        "sequence_id": chance.choice((1, "a", "b", 2**64 - 1)),
        "sequence_start": chance.random() < 0.5,
        "sequence_end": chance.random() < 0.2,
        "sequence_step": chance.choice((0, 1, 2)),
        "seed": 1,
        "binary_data_output": chance.random() < 0.2,
    }
    for name in list(parameters):
        if chance.random() < 0.5:
            del parameters[name]
    return json.dumps({"id": "7", "inputs": [X], "outputs": [{"name": "s"}], "parameters": parameters}).encode()


@pytest.mark.usefixtures("other_client")
def test_http(served: tuple[Any, int]) -> None:
    """No mutated HTTP request gets a 5xx response."""
    paths = (
        b"POST /v2/models/lif/infer",
        b"PUT /v2/models/lif/sequences/a/state",
        b"GET /v2/models/lif/sequences/a/state",
        b"GET /v2/models/srm0/config",
        b"POST /v2/repository/models/srm0/load",
        b"GET /metrics",
    )
    seen: Counter[int] = Counter()
    for chance in random_generators():
        sent_bytes = b""
        for _ in range(chance.randint(1, 3)):  # on one connection
            body = infer_body(chance)
            body = mutate(chance, body) if chance.random() < 0.7 else body
            path = chance.choice((paths[0], chance.choice(paths)))
            head = b"%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
            sent_bytes += (mutate(chance, head) if chance.random() < 0.3 else head) + body
        with connect(served[0].address) as connection:
            answer = exchange(connection, sent_bytes)
        for part in answer.split(b"HTTP/1.1 ")[1:]:
            seen[int(part[:3])] += 1
            assert int(part[:3]) < 500, (sent_bytes, answer)
    assert {200, 400, 404} <= seen.keys(), seen


def frame(first: int, payload: bytes) -> bytes:
    """A WebSocket frame with a mask of zeros. ``first`` is its first byte: flags and opcode."""
    size = bytes([128 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([first]) + size + bytes(4) + payload


@pytest.mark.usefixtures("other_client")
def test_websocket(served: tuple[Any, int]) -> None:
    """No mutated handshake or message causes a 5xx response, an internal error or close code 1011."""
    handshake = (
        b"GET /v2/models/%s/stream%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    queries = (b"", b"?sequence_id=a&sequence_start=true", b"?sequence_id=a", b"?batch=2", b"?seed=3", b"?batch=-1&seed=x")
    seen: Counter[str] = Counter()
    for chance in random_generators():
        opening = handshake % (chance.choice((b"lif", b"srm0")), chance.choice(queries))
        opening, sent_bytes = mutate(chance, opening) if chance.random() < 0.2 else opening, b""
        for _ in range(chance.randint(1, 4)):
            body = chance.choice((infer_body(chance), np.full(8, 9, np.float32).tobytes()))
            first = chance.choice((0x81, 0x81, 0x82, 0x82, chance.randrange(256)))  # text, binary, or anything
            framed = frame(first, mutate(chance, body) if chance.random() < 0.7 else body)
            sent_bytes += mutate(chance, framed) if chance.random() < 0.3 else framed
        answer = b""
        with connect(served[0].address) as connection:
            connection.sendall(opening)
            connection.settimeout(0.1)
            with suppress(ConnectionError, TimeoutError):
                answer = connection.recv(2**16)  # a client may send no frame before the handshake is answered
            answer += exchange(connection, sent_bytes, wait=0.05)
        assert b"internal server error" not in answer, (sent_bytes, answer)
        assert not answer.startswith(b"HTTP/1.1 5"), (sent_bytes, answer)
        assert b"\x88\x02\x03\xf3" not in answer, (sent_bytes, answer)  # close code 1011: internal error
        seen["opened"] += answer.startswith(b"HTTP/1.1 101")
        seen["refused"] += b'"status": 4' in answer
        seen["stepped"] += b"\x82\x08" in answer
    assert min(seen[kind] for kind in ("opened", "refused", "stepped")) > 0, seen


def infer_message(chance: random.Random) -> bytes:
    request = message("ModelInferRequest")(model_name=chance.choice(NAMES), id="7")
    shape = chance.choice(([1, 8], [1, 8], [2, 1, 8], [-1, 8], [2**62, 8], [2**20, 8], [], [0] * 40))
    request.inputs.add(
        name=chance.choice(("x", "x", "s", "")), datatype=chance.choice(("FP32", "FP32", "BOOL", "BYTES", ""))
    )
    request.inputs[0].shape.extend(shape)
    if chance.random() < 0.7:
        request.raw_input_contents.append(np.full(8 * chance.choice((1, 1, 2)), 9, np.float32).tobytes())
    else:
        request.inputs[0].contents.fp32_contents.extend([9.0] * 8)
    values: dict[str, Any] = {"string_param": "a", "bool_param": True, "int64_param": -1, "uint64_param": 1}
    for name in ("sequence_id", "sequence_start", "sequence_end", "sequence_step", "seed"):
        if chance.random() < 0.4:
            usual = "string_param" if name == "sequence_id" else "bool_param"
            kind = usual if chance.random() < 0.5 else chance.choice(list(values))
            setattr(request.parameters[name], kind, values[kind])
    return request.SerializeToString()


@pytest.mark.usefixtures("other_client")
def test_grpc_messages(served: tuple[Any, int]) -> None:
    """Each call with a mutated message gets a response, or a status that means a client error."""
    names, seen = [method.name for method in methods() if not method.server_streaming], Counter[Any]()
    with grpc.insecure_channel(f"127.0.0.1:{served[1]}") as channel:
        for chance in random_generators():
            requests = [mutate(chance, infer_message(chance)) for _ in range(chance.randint(1, 3))]
            try:
                if chance.random() < 0.5:
                    answers = [*channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(requests), timeout=20)]
                    for answer in map(message("ModelStreamInferResponse").FromString, answers):
                        assert "internal server error" not in answer.error_message, requests
                        seen["refused" if answer.error_message else "stepped"] += 1
                else:
                    name = "ModelInfer" if chance.random() < 0.7 else chance.choice(names)
                    channel.unary_unary(f"/{SERVICE}/{name}")(requests[0], timeout=20)
                    seen[name] += 1
            except grpc.RpcError as error:
                seen[error.code()] += 1
                code, details = error.code(), error.details()
                assert code in CLIENT_ERRORS, (requests, code, details)
    for expected in ("refused", "stepped", "ModelInfer", grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
        assert seen[expected], seen


def http2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def call_headers(path: bytes) -> bytes:
    """The headers of a gRPC call."""
    head = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"localhost", b"te": b"trailers"}
    pairs = [*head.items(), (b"content-type", b"application/grpc")]
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)


@pytest.mark.usefixtures("other_client")
def test_grpc_bytes(served: tuple[Any, int]) -> None:
    """Mutated HTTP/2 frames of a gRPC call do not end the server."""
    headers = call_headers(f"/{SERVICE}/ModelInfer".encode())
    answered = 0
    for chance in random_generators():
        request = infer_message(chance)
        data = b"\0" + struct.pack(">I", len(request)) + request
        frames = [http2(1, 4, 1, headers), http2(0, 1, 1, data), http2(chance.randrange(12), 0, 1, chance.randbytes(8))]
        sent_bytes = PREFACE + http2(4, 0, 0, b"")
        sent_bytes += b"".join(mutate(chance, each) if chance.random() < 0.5 else each for each in frames)
        with connect_with_retries(served[1]) as connection:
            answer = exchange(connection, mutate(chance, sent_bytes) if chance.random() < 0.2 else sent_bytes, wait=0.05)
        answered += b"application/grpc" in answer
    assert answered, "no call was answered"


@pytest.mark.usefixtures("other_client")
def test_grpc_path_that_is_not_utf8(served: tuple[Any, int]) -> None:
    """A path that is not UTF-8 shuts grpcio's server down; our server starts it again."""
    call = http2(1, 5, 1, call_headers(b"/\xee/ModelInfer"))
    for _ in range(3):
        with connect_with_retries(served[1]) as connection:
            answer = exchange(connection, PREFACE + http2(4, 0, 0, b"") + call, wait=1)
        assert b"shutdown" in answer, "grpcio has fixed this: remove the restart from RpcServer"
        with connect_with_retries(served[1]), grpc.insecure_channel(f"127.0.0.1:{served[1]}") as channel:
            live = channel.unary_unary(f"/{SERVICE}/ServerReady")(b"", wait_for_ready=True, timeout=10)
            assert message("ServerReadyResponse").FromString(live).ready
