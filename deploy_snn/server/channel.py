"""A WebSocket that steps one stream: one message per step or chunk, one reply per message, in order.

It avoids the overhead of an HTTP request per step. A binary message holds the values of the model's inputs, one input after
the other, in the order and with the shapes of the greeting; for several steps, each input with all of its steps. The reply
holds the outputs in the same way. A text message is the JSON of an infer request, and so is its reply. The server stops
reading from a client that does not read its replies.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from fastapi import WebSocket, WebSocketDisconnect

from deploy_snn.contract import Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import ModelNotFound, StoreFailed, explain
from deploy_snn.server.large import run_sized
from deploy_snn.server.model import Model
from deploy_snn.server.names import SequenceId
from deploy_snn.server.protocol import (
    DATATYPE_OF_NAME,
    DATATYPES,
    InferRequest,
    parse_request,
    read_binary,
    render_response,
)
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.tensors import Arrays

NO_HEADERS: Final[Mapping[str, str]] = {}
SERVICE_RESTART = 1012
"""The code with which a WebSocket is closed when its server shuts down."""


@dataclass
class Channel:
    """The stream of a connection. With ``temporary``, the stream has no name of its client's, and ends with the connection.

    ``steps`` is where the stream was when the channel was opened. ``start`` and ``seed`` apply to the next step.
    """

    repository: Repository
    name: str
    sequence: SequenceId
    temporary: bool
    batch: int
    steps: int
    start: bool
    seed: int | None
    ended: bool = False

    @property
    def model(self) -> Model:
        """The model as it is loaded now. Raises ModelNotFound if it has been unloaded."""
        return self.repository.find(self.name, VERSION)

    def greeting(self) -> dict[str, Any]:
        """The stream's current step, and the layout of binary messages: all inputs except noise, which the server draws."""
        return {
            "model_name": self.name,
            "model_version": VERSION,
            "sequence_id": self.sequence,
            "sequence_step": self.steps,
            "inputs": [self._layout(spec) for spec in self._drives()],
            "outputs": [self._layout(spec) for spec in self.model.contract.outputs],
        }

    async def reply(self, message: bytes | str, headers: Mapping[str, str] = NO_HEADERS) -> bytes | str:
        """Step the stream and return the reply to a message.

        ``headers`` are those of the handshake. The reply to a message that is refused is the text
        ``{"error": ..., "status": ...}``; the stream is then unchanged.
        """
        try:
            with self.repository.request(self.name, "websocket", headers) as take:
                take(len(message))
                if isinstance(message, bytes):
                    request = InferRequest("", self._unpack(message), {}, True, None, False, False, None)
                else:
                    request = await run_sized(len(message), parse_request, message.encode(), None)
                return await self._step(request, binary=isinstance(message, bytes))
        except Exception as error:  # noqa: BLE001  (the connection stays open, for other messages)
            explained = explain(error, model=self.name, sequence=self.sequence)
            return json.dumps({"error": explained.message, "status": explained.status})

    async def drop_stream(self) -> None:
        """End the stream, unless its model has been unloaded. One that stays in the store is dropped when it is idle."""
        with suppress(StoreFailed, ModelNotFound):
            await self.model.drop_streams([self.sequence])

    async def _step(self, request: InferRequest, *, binary: bool) -> bytes | str:
        if request.sequence not in (None, self.sequence):
            raise InvalidInput(f"this WebSocket is for sequence {self.sequence!r}, not {request.sequence!r}")
        if not binary and (request.binary or any(request.outputs.values())):
            raise InvalidInput("the reply to a text message has no binary outputs: send a binary message")
        start = request.start or (self.start and not request.step)  # a message with a later step goes on
        seed = self.seed if request.seed is None else request.seed
        complete = replace(request, sequence=self.sequence, start=start, seed=seed)
        result = await self.model.infer(complete)
        self.start, self.ended = False, request.end
        if binary:
            return b"".join(result.outputs[spec.name].tobytes() for spec in self.model.contract.outputs)
        size = sum(array.nbytes for array in result.outputs.values())
        rendered, _ = await run_sized(size, render_response, self.name, complete, result.outputs, result.steps)
        return rendered.decode()

    def _unpack(self, message: bytes) -> Arrays:
        specs = self._drives()
        sizes = [
            math.prod(spec.shape(batch=self.batch)) * DATATYPES[DATATYPE_OF_NAME[spec.dtype]].itemsize for spec in specs
        ]
        steps, remainder = divmod(len(message), sum(sizes))
        if remainder or not steps:
            raise InvalidInput(
                f"a message of {len(message)} bytes: expected {sum(sizes)} bytes for a step of {self.name}, or a multiple"
            )
        inputs, data = {}, memoryview(message)
        for spec, size in zip(specs, sizes, strict=True):
            time = (steps,) if steps > 1 else ()
            shape = (*time, *spec.shape(batch=self.batch))
            inputs[spec.name] = read_binary(spec.name, data[: steps * size], DATATYPES[DATATYPE_OF_NAME[spec.dtype]], shape)
            data = data[steps * size :]
        return inputs

    def _drives(self) -> list[TensorSpec]:
        return [spec for spec in self.model.contract.inputs if spec.role is not Role.NOISE]

    def _layout(self, spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "datatype": DATATYPE_OF_NAME[spec.dtype], "shape": list(spec.shape(batch=self.batch))}


async def open_channel(
    repository: Repository, name: str, sequence: SequenceId | None, *, start: bool, batch: int | None, seed: int | None
) -> Channel:
    """Open a channel: to an existing stream, to a new one (``start``), or to a temporary one (``sequence`` None).

    Raises ModelNotFound for a model that is not loaded; InvalidInput for an unknown stream, or a ``batch`` that is not the
    stream's; StoreFailed for a stream that cannot be read.
    """
    model = repository.find(name, VERSION)
    temporary = sequence is None
    sequence = sequence or f"connection {uuid4().hex}"
    start = start or temporary
    existing = None if start else await model.stream(sequence)
    if existing and batch not in (None, existing.batch):
        raise InvalidInput(f"batch={batch}: the stream of sequence {sequence!r} has batch size {existing.batch}")
    steps, batch = (existing.steps, existing.batch) if existing else (0, batch or 1)
    return Channel(repository, name, sequence, temporary, batch, steps, start, seed)


async def run_channel(socket: WebSocket, channel: Channel) -> None:
    """Send the greeting and reply to messages, until the stream or the connection ends."""
    await socket.accept()
    try:
        await _send(socket, json.dumps(channel.greeting()))
        while (message := await socket.receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await _send(socket, await channel.reply(message["text"] if data is None else data, socket.headers))
            if channel.ended:
                await socket.close()
    except WebSocketDisconnect:  # a reply could not be sent; the last message has the reason
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            pass
    if channel.temporary and message["code"] != SERVICE_RESTART:
        await channel.drop_stream()


async def _send(socket: WebSocket, message: bytes | str) -> None:
    """Send a message. Raises WebSocketDisconnect for a connection that is closed."""
    try:
        await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message))
    except RuntimeError:  # uvicorn's, if it has closed the connection for a frame that breaks the protocol
        raise WebSocketDisconnect from None
