"""Load for a server, from a process of its own: streams that each send a request as soon as they have their answer.

``python serving_load.py http|websocket ADDRESS BUNDLE --streams 64 --steps 1 --seconds 5``: prints what it saw as JSON.
Requests are made before the clock runs, and answers only measured, so that the load costs the machine as little as it can.
"""

import argparse
import asyncio
import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from deploy_snn.bundle import Bundle
from deploy_snn.tensors import Arrays

DISTINCT = 8
"""Requests that are made before the clock runs, and sent again and again."""
SPARE = 0.2
"""The part of the time that is left out at the beginning, until all streams have started."""
DATATYPES = {"float32": "FP32", "bool": "BOOL"}

Framing = Callable[[bytes], int]
"""How many bytes of what was received make the first answer; 0 if it is not complete."""


class Stream(asyncio.Protocol):
    """One connection, one stream: request after request."""

    def __init__(self, opening: bytes, messages: list[bytes], whole: Framing) -> None:
        self.opening, self.messages, self.whole = opening, messages, whole
        self.received = b""
        self.sent: list[float] = []
        self.latencies: list[tuple[float, float]] = []
        """When each answer came, and how long it took."""
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's own kind
        self.transport.write(self.opening)
        self.begun = time.perf_counter()
        self.count = 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        while size := self.whole(self.received):
            now = time.perf_counter()
            answer, self.received = self.received[:size], self.received[size:]
            self.refused += not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101", b"\x82", b"\x81"))
            self.refused += b'"error"' in answer[-300:]
            self.latencies.append((now, now - self.begun))
            self.transport.write(self.messages[self.count % len(self.messages)])
            self.begun = time.perf_counter()
            self.count += 1


def http_answer(received: bytes) -> int:
    """The protocol's answers have a Content-Length."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return 0
    lowered = received[:head].lower()
    at = lowered.find(b"\r\ncontent-length:")
    size = head + 4 + (int(lowered[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
    return size if len(received) >= size else 0


def websocket_answer(received: bytes) -> int:
    """A frame; before the first, the handshake."""
    if received.startswith(b"HTTP"):
        head = received.find(b"\r\n\r\n")
        return head + 4 if head >= 0 else 0
    if len(received) < 4:
        return 0
    short = received[1] & 127
    size = 2 + short if short < 126 else 4 + struct.unpack(">H", received[2:4])[0] if short == 126 else 0
    if short == 127:
        size = 10 + struct.unpack(">Q", received[2:10])[0] if len(received) >= 10 else 0
    return size if size and len(received) >= size else 0


def http_request(model: str, host: str, inputs: Arrays, parameters: dict[str, object]) -> bytes:
    """An infer request with binary tensors, in and out."""
    tensors = [
        {
            "name": name,
            "datatype": DATATYPES[array.dtype.name],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    asked = json.dumps({"inputs": tensors, "parameters": {**parameters, "binary_data_output": True}}).encode()
    body = asked + b"".join(array.tobytes() for array in inputs.values())
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(asked)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def websocket_opening(model: str, host: str) -> bytes:
    """The handshake of a stream of the connection's own."""
    return (
        f"GET /v2/models/{model}/stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


def frame(inputs: Arrays) -> bytes:
    """A binary message, under a mask of zeros."""
    payload = b"".join(array.tobytes() for array in inputs.values())
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 2**16 else b""
    return b"\x82" + (length or b"\xff" + struct.pack(">Q", size)) + bytes(4) + payload


def draw(bundle: Bundle, steps: int, number: int) -> list[Arrays]:
    """A stream's own inputs: each neuron fires in one step of ten."""
    rng = np.random.default_rng(number)
    shapes = {spec.name: spec.shape(batch=1) for spec in bundle.contract.inputs if spec.role != "noise"}
    return [
        {
            name: (rng.random((steps, *shape) if steps > 1 else shape) < 0.1).astype(np.float32)
            for name, shape in shapes.items()
        }
        for _ in range(DISTINCT)
    ]


def open_streams(kind: str, address: str, bundle: Bundle, streams: int, steps: int) -> Iterator[Stream]:
    """Streams with all that they will send."""
    model = bundle.path.resolve().name
    for number in range(1, streams + 1):
        inputs = draw(bundle, steps, number)
        if kind == "http":
            opening = http_request(model, address, inputs[0], {"sequence_id": number, "sequence_start": True})
            messages = [http_request(model, address, each, {"sequence_id": number}) for each in inputs]
            yield Stream(opening, messages, http_answer)
        else:
            yield Stream(websocket_opening(model, address), [frame(each) for each in inputs], websocket_answer)


async def load(made: list[Stream], address: str, steps: int, seconds: float) -> dict[str, float]:
    """Let all streams run, and sum up what they saw."""
    host, port = address.split(":")
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.create_connection(lambda stream=stream: stream, host, int(port)) for stream in made))
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    for stream in made:
        stream.transport.abort()
    taken = np.array([took for stream in made for at, took in stream.latencies if at > begun + SPARE * seconds])
    return {
        "requests_per_second": len(taken) / (seconds * (1 - SPARE)),
        "steps_per_second": steps * len(taken) / (seconds * (1 - SPARE)),
        "p50": float(np.percentile(taken, 50) * 1e6),
        "p99": float(np.percentile(taken, 99) * 1e6),
        "refused": sum(stream.refused for stream in made),
        "fewest": min(len(stream.latencies) for stream in made),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["http", "websocket"])
    parser.add_argument("address")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    opened = list(open_streams(given.kind, given.address, Bundle.open(given.bundle), given.streams, given.steps))
    print(json.dumps(uvloop.run(load(opened, given.address, given.steps, given.seconds))))
