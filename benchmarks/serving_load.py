"""Load for a server, from a process of its own: streams that each send a request as soon as they have their answer.

``python serving_load.py http|websocket|grpc ADDRESS BUNDLE --streams 64 --steps 1 --seconds 5`` prints a JSON object.

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
from deploy_snn.server.rpc.messages import message
from deploy_snn.tensors import Arrays

DISTINCT = 8
"""Requests that are made before the clock runs, and sent again and again."""
SPARE = 0.2
"""The part of the time that is left out at the beginning, until all streams have started."""
DATATYPES = {"float32": "FP32", "bool": "BOOL"}

ModelInferRequest = message("ModelInferRequest")

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


class Http2(Stream):
    """One connection with one call of gRPC's ``ModelStreamInfer``, which stays open: message after message.

    It speaks as much HTTP/2 as that takes: frames, flow control, and no compression of headers (RFC 9113, 7541).
    """

    CALL = "/inference.GRPCInferenceService/ModelStreamInfer"

    def __init__(self, opening: bytes, messages: list[bytes], host: str) -> None:
        super().__init__(opening, messages, lambda _: 0)
        self.host, self.answer, self.waiting = host, b"", b""
        self.initial = 2**16 - 1
        self.windows = {0: self.initial, 1: self.initial}
        """How many bytes the server takes, on the connection and in the call."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": self.CALL, ":authority": self.host, "te": "trailers"}
        fields["content-type"] = "application/grpc"
        head = b"".join(bytes([0, len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in fields.items())
        most = struct.pack(">HI", 4, 2**31 - 1)  # the answers of a call are never held up for us
        first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, most) + h2_frame(1, 4, 1, head)
        self.opening, message = first, self.opening
        super().connection_made(transport)
        self._send(message)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3])
            if len(self.received) < 9 + size:
                break
            kind, flags, call = self.received[3], self.received[4], int.from_bytes(self.received[5:9])
            payload, self.received = self.received[9 : 9 + size], self.received[9 + size :]
            self._frame(kind, flags, call, payload)

    def _frame(self, kind: int, flags: int, call: int, payload: bytes) -> None:
        if kind == 0:
            self._data(payload)
        elif kind == 4 and not flags & 1:
            for at in range(0, len(payload), 6):
                if payload[at : at + 2] == b"\0\4":
                    initial = int.from_bytes(payload[at + 2 : at + 6])
                    self.windows[1] += initial - self.initial
                    self.initial = initial
            self.transport.write(h2_frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            self.transport.write(h2_frame(6, 1, 0, payload))
        elif kind == 8:
            self.windows[call] += int.from_bytes(payload)
        elif kind in (3, 7) or (kind == 1 and flags & 1):  # the call has ended
            self.refused += 1
        if self.waiting:
            waiting, self.waiting = self.waiting, b""
            self._send(waiting)

    def _data(self, payload: bytes) -> None:
        self.transport.write(h2_frame(8, 0, 0, len(payload).to_bytes(4)) if payload else b"")
        self.answer += payload
        while len(self.answer) >= 5 and len(self.answer) >= 5 + int.from_bytes(self.answer[1:5]):
            now, size = time.perf_counter(), 5 + int.from_bytes(self.answer[1:5])
            self.refused += self.answer[5] != 0x12  # the field infer_response, and no error_message before it
            self.answer = self.answer[size:]
            self.latencies.append((now, now - self.begun))
            self.begun = time.perf_counter()
            self._send(self.messages[self.count % len(self.messages)])
            self.count += 1

    def _send(self, message: bytes) -> None:
        """Send a message, if the server has room for it; else once it has."""
        if len(message) > min(self.windows.values()):
            self.waiting = message
            return
        for at in range(0, len(message), 2**14):
            self.transport.write(h2_frame(0, 0, 1, message[at : at + 2**14]))
        for call in self.windows:
            self.windows[call] -= len(message)


def h2_frame(kind: int, flags: int, call: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + call.to_bytes(4) + payload


def grpc_message(model: str, inputs: Arrays, sequence: int, *, start: bool = False) -> bytes:
    """A ``ModelInferRequest`` with its prefix."""
    asked = ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        asked.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        asked.raw_input_contents.append(array.tobytes())
    asked.parameters["sequence_id"].int64_param = sequence
    if start:
        asked.parameters["sequence_start"].bool_param = True
    packed = asked.SerializeToString()
    return b"\0" + len(packed).to_bytes(4) + packed


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
        elif kind == "grpc":
            opening = grpc_message(model, inputs[0], number, start=True)
            yield Http2(opening, [grpc_message(model, each, number) for each in inputs], address)
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
    parser.add_argument("kind", choices=["http", "websocket", "grpc"])
    parser.add_argument("address")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    opened = list(open_streams(given.kind, given.address, Bundle.open(given.bundle), given.streams, given.steps))
    print(json.dumps(uvloop.run(load(opened, given.address, given.steps, given.seconds))))
