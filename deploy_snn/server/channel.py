"""A WebSocket on which one stream steps: a message in, a message out, in order, without the ceremony of a request.

A binary message holds the values of the model's inputs, one after the other, in the order and the shapes of the
greeting; for several steps, each input with all of its steps. The answer holds its outputs in the same way. A text message
is a request's JSON, and so is its answer. While a client does not read its answers, its messages are not read either.
"""

import json
import math
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import WebSocket, WebSocketDisconnect

from deploy_snn.contract import Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.server.log import LOGGER
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import DATATYPES, NAMES, InferRequest, Sequence, parse_request, read_binary, render_response
from deploy_snn.server.refusals import REFUSALS, STATUSES
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.tensors import Arrays

RESTARTING = 1012
"""The code with which a WebSocket is closed because its server ends."""


@dataclass
class Channel:
    """A connection's stream. Without a ``sequence`` it is a stream of the connection's own, and ends with it."""

    repository: Repository
    name: str
    sequence: Sequence
    own: bool
    batch: int
    start: bool
    seed: int | None
    ended: bool = False

    @property
    def model(self) -> Model:
        """The model as it is loaded now. Raises NotFound if it is not."""
        return self.repository.find(self.name, VERSION)

    def greeting(self) -> dict[str, Any]:
        """Where the stream stands, and what a binary message holds: all inputs but the noise, which the server draws."""
        return {
            "model_name": self.name,
            "model_version": VERSION,
            "sequence_id": self.sequence,
            "sequence_step": 0 if self.start else self.model.stream(self.sequence).steps,
            "inputs": [self._layout(spec) for spec in self._drives()],
            "outputs": [self._layout(spec) for spec in self.model.contract.outputs],
        }

    async def answer(self, message: bytes | str) -> bytes | str:
        """What a message gets. One that is refused gets a text, ``{"error": ..., "status": ...}``, and changes nothing."""
        try:
            with self.repository.metrics.request(self.name):
                if isinstance(message, bytes):
                    request = InferRequest("", self._unpack(message), {}, True, None, False, False, None)
                else:
                    request = parse_request(message.encode(), None)
                return await self._step(request, binary=isinstance(message, bytes))
        except REFUSALS as error:
            return json.dumps({"error": str(error), "status": STATUSES[type(error)]})
        except Exception:  # noqa: BLE001  (the connection, and the other messages on it, go on)
            LOGGER.exception("step failed", extra={"fields": {"model": self.name, "sequence": self.sequence}})
            return json.dumps({"error": "the server failed; its log says why", "status": HTTPStatus.INTERNAL_SERVER_ERROR})

    async def forget(self) -> None:
        """End the stream, if its model is still there."""
        if self.name in self.repository.models:
            await self.model.forget([self.sequence])

    async def _step(self, request: InferRequest, *, binary: bool) -> bytes | str:
        if request.sequence not in (None, self.sequence):
            raise InvalidInput(f"this is the WebSocket of sequence {self.sequence!r}, and not of {request.sequence!r}")
        if not binary and (request.binary or any(request.wanted.values())):
            raise InvalidInput("a text message has no binary outputs: send a binary message")
        begins = self.start or request.start
        seed = self.seed if request.seed is None else request.seed
        asked = replace(request, sequence=self.sequence, start=begins, seed=seed)
        given = await self.model.infer(asked)
        self.start, self.ended = False, request.end
        if binary:
            return b"".join(given.outputs[spec.name].tobytes() for spec in self.model.contract.outputs)
        return render_response(self.name, asked, given.outputs, given.steps)[0].decode()

    def _unpack(self, message: bytes) -> Arrays:
        specs = self._drives()
        sizes = [math.prod(spec.shape(batch=self.batch)) * DATATYPES[NAMES[spec.dtype]].itemsize for spec in specs]
        steps, rest = divmod(len(message), sum(sizes))
        if rest or not steps:
            raise InvalidInput(
                f"a message of {len(message)} bytes: a step of {self.name} takes {sum(sizes)}, or a multiple"
            )
        inputs, left = {}, memoryview(message)
        for spec, size in zip(specs, sizes, strict=True):
            in_time = (steps,) if steps > 1 else ()
            shape = (*in_time, *spec.shape(batch=self.batch))
            inputs[spec.name] = read_binary(spec.name, left[: steps * size], spec.dtype, shape)
            left = left[steps * size :]
        return inputs

    def _drives(self) -> list[TensorSpec]:
        return [spec for spec in self.model.contract.inputs if spec.role is not Role.NOISE]

    def _layout(self, spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "datatype": NAMES[spec.dtype], "shape": list(spec.shape(batch=self.batch))}


def open_channel(
    repository: Repository, name: str, sequence: Sequence | None, *, start: bool, batch: int | None, seed: int | None
) -> Channel:
    """A channel on a stream that there is, on one that starts, or, for ``sequence`` None, on one of its own.

    Raises NotFound for a model, InvalidInput for a stream that there is not, or that has another batch.
    """
    model = repository.find(name, VERSION)
    own = sequence is None
    sequence = sequence or f"connection {uuid4().hex}"
    begins = start or own
    standing = None if begins else model.stream(sequence)
    if standing and batch not in (None, standing.batch):
        raise InvalidInput(f"batch {batch}: the stream of sequence {sequence!r} has one of {standing.batch}")
    return Channel(repository, name, sequence, own, standing.batch if standing else batch or 1, begins, seed)


async def converse(socket: WebSocket, channel: Channel) -> None:
    """Greet, and answer message after message, until the stream or the connection ends."""
    await socket.accept()
    try:
        await socket.send_json(channel.greeting())
        while (message := await socket.receive())["type"] == "websocket.receive":
            given = message.get("bytes")
            answer = await channel.answer(message["text"] if given is None else given)
            await (socket.send_bytes(answer) if isinstance(answer, bytes) else socket.send_text(answer))
            if channel.ended:
                await socket.close()
    except WebSocketDisconnect:  # an answer found nobody; what comes last tells why
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            pass
    if channel.own and message["code"] != RESTARTING:
        await channel.forget()
