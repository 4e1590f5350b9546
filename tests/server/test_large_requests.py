"""Large and hostile requests do not delay other clients for long."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

EXPORT = Path(__file__).parent.parent.parent / "export"
MB = 2**20
LONGEST_WAIT = 8.0
"""The longest time in seconds that another client may wait. Seen: 0.2 on an idle machine, 10 or more without limits."""
GZIP_HEADER = {"Content-Encoding": "gzip"}


@pytest.fixture(scope="module")
def served(running: Callable) -> Iterator[Any]:
    with running([EXPORT / "lif"]) as served:
        yield served


@contextmanager
def other_client(served: Any) -> Iterator[None]:
    """A client that steps inside the block: no step takes long, and the server's memory stays bounded."""
    waits, stop, memory = [0.0], threading.Event(), [0]

    def resident() -> int:
        return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]) * 4096

    def step_until_stopped() -> None:
        with connect(f"ws://{served.address}/v2/models/lif/stream") as connection:
            connection.recv()
            while not stop.is_set():
                begun = time.monotonic()
                connection.send(bytes(32))
                connection.recv()
                waits.append(time.monotonic() - begun)
                memory.append(resident())
                time.sleep(0.005)

    before = resident()
    thread = threading.Thread(target=step_until_stopped)
    thread.start()
    time.sleep(0.1)
    yield
    stop.set()
    thread.join()
    assert len(waits) > 10
    assert max(waits) < LONGEST_WAIT
    assert max(memory) - before < 600 * MB


def binary(shape: list[int], **parameters: object) -> tuple[bytes, dict[str, str]]:
    """Return a compressed binary request of zeros, and its headers."""
    size = int(np.prod(shape)) * 4
    tensor = {"name": "x", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return gzip.compress(head + bytes(size), 9), {"Inference-Header-Content-Length": str(len(head)), **GZIP_HEADER}


def text(data: str) -> bytes:
    return gzip.compress(b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [%s]}]}' % data.encode())


HOSTILE = {
    "64 MB of empty lists": (text("[]," * (21 * MB) + "[]"), GZIP_HEADER, "the JSON has more than"),
    "15 MB of empty lists": (text("[]," * (5 * MB) + "[]"), GZIP_HEADER, "the JSON has more than"),
    "7 million numbers": (text("0," * (7 * MB) + "0"), GZIP_HEADER, "the JSON has more than"),
    "as many JSON elements as allowed": (text("[]," * 500_000 + "[]"), GZIP_HEADER, "input 'x' has 0 elements"),
    "a long string": (gzip.compress(b'{"id": "%s"}' % (b"\\u00e9" * (2 * MB))), GZIP_HEADER, "inputs: Field required"),
    "2 million rows": (*binary([2 * MB - 100, 8]), "at most 4096 rows"),
    "a step of many rows": (*binary([4096, 8]), None),
    "a long run": (*binary([100_000, 1, 8], binary_data_output=True), None),
    "a long run, as JSON": (*binary([100_000, 1, 8]), None),
    "a longer run, as JSON": (*binary([MB, 1, 8]), "must be asked for in binary"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_other_clients_do_not_wait(name: str, served: Any) -> None:
    """While the server handles a large request, another client does not wait for long."""
    body, headers, refused = HOSTILE[name]
    with other_client(served):
        answer = httpx.post(f"http://{served.address}/v2/models/lif/infer", content=body, headers=headers, timeout=60)
    if refused is None:
        assert answer.status_code == 200, answer.text
    else:
        assert (answer.status_code, refused in answer.json()["error"]) == (400, True), answer.text


def test_bytes_in_flight_are_bounded(served: Any) -> None:
    """Of many incomplete bodies, the server buffers only as many as fit; the others get status 503."""
    host, port = served.address.split(":")
    size = 60 * MB
    head = f"POST /v2/models/lif/infer HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode()
    with other_client(served), ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(7)]
        refused = []

        def send(connection: socket.socket) -> None:
            try:
                connection.sendall(head + bytes(size - 1))
                connection.settimeout(1)
                refused.append(connection.recv(100))
            except (TimeoutError, ConnectionError):
                pass

        threads = [threading.Thread(target=send, args=[connection]) for connection in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(refused) >= 3
    assert {answer[:12] for answer in refused} == {b"HTTP/1.1 503"}
    for _ in range(100):  # until the buffers of the closed connections are freed
        answer = httpx.post(f"http://{served.address}/v2/models/lif/infer", content=bytes(size), timeout=60)
        if answer.status_code == 400:
            return
        time.sleep(0.1)
    raise AssertionError(answer.text)
