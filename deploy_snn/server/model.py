"""A model being served: its streams, and the one place where requests of several streams become one batch."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Role, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.log import tell
from deploy_snn.server.observer import Observer, Step, report
from deploy_snn.server.protocol import InferRequest, Sequence
from deploy_snn.server.queue import Answer, Queue, Waiting
from deploy_snn.server.refusals import Busy, Elsewhere
from deploy_snn.server.stepper import Stepper
from deploy_snn.server.stream import Stream, new_stream
from deploy_snn.tensors import Arrays, check_finite


@dataclass(frozen=True)
class Limits:
    """How much a model may take on."""

    max_batch: int = 64
    max_wait: float = 0.0
    """Seconds to wait for more requests, once one is there. While a batch runs, the next one gathers anyway."""
    max_streams: int = 10_000
    max_state_bytes: int = 2**30
    max_queue: int = 4096
    idle_timeout: float = 600.0


class Model:
    """Steps requests in order within each stream, and streams together in batches.

    Args:
        bundle: what to serve. runtime: the name of the runtime that steps it. limits: what it may take on.
        checkpoint: where its streams are kept beyond its life, if anywhere. observers: who is told of its steps.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: str,
        limits: Limits,
        checkpoint: Checkpoint | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.bundle = bundle
        self.name = bundle.path.resolve().name
        self.contract = bundle.contract
        self.platform = f"deploy_snn_{runtime}"
        self.limits = limits
        self.streams: dict[Sequence, Stream] = {}
        self._outputs = [spec.name for spec in self.contract.outputs]
        self._in_time = {spec.name: spec.in_time() for spec in self.contract.inputs}
        self._stepper = Stepper(bundle, runtime, checkpoint)
        self._queue = Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._bytes = 0
        self._closing = False
        self._stepping: set[Sequence | None] = set()
        self._observers = tuple(observers)
        for sequence, stream in checkpoint.load().items() if checkpoint else ():
            self._put(sequence, stream)
        self._open: set[asyncio.Future[Answer]] = set()

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def state_bytes(self) -> int:
        """What the states of its streams take in memory."""
        return self._bytes

    def open(self) -> None:
        """Begin to serve, in the running event loop."""
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._sweep())]

    async def close(self) -> None:
        """Answer what waits, and stop."""
        self._closing = True
        await asyncio.gather(*self._open, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stepper.close()

    async def infer(self, request: InferRequest) -> Answer:
        """The outputs of a request, once it has been stepped.

        Raises InvalidInput for inputs that break the contract, or a stream that there is not; Elsewhere for a stream that
        is at another step than the client says; Busy where there is no room.
        """
        waiting = self._check(request)
        if self._closing:
            raise Busy(f"{self.name} is shutting down")
        if len(self._queue) >= self.limits.max_queue:
            raise Busy(f"{len(self._queue)} requests are waiting already")
        self._open.add(waiting.answer)
        waiting.answer.add_done_callback(self._open.discard)
        self._queue.put(waiting)
        # A client that goes away does not take back its request: its stream has been stepped, or will be.
        return await waiting.answer

    def stream(self, sequence: Sequence) -> Stream:
        """Where a stream stands. Raises InvalidInput for one that there is not."""
        if sequence not in self.streams:
            raise InvalidInput(f"sequence {sequence!r} has no stream here")
        return self.streams[sequence]

    async def adopt(self, sequence: Sequence, stream: Stream) -> None:
        """Take in a stream from elsewhere. Raises Elsewhere if there is one of this name, Busy where there is no room."""
        if sequence in self.streams:
            raise Elsewhere(f"sequence {sequence!r} has a stream here already, at step {self.streams[sequence].steps}")
        if self._closing:
            raise Busy(f"{self.name} is shutting down")
        if not self._room_for(stream):
            raise Busy(f"{len(self.streams)} streams are all that {self.name} keeps")
        self._put(sequence, stream)
        tell("stream moved in", model=self.name, sequence=sequence, step=stream.steps)
        await self._stepper.note({sequence: stream}, ())

    async def forget(self, sequences: list[Sequence]) -> None:
        """End streams without a last step."""
        for sequence in sequences:
            self._drop(sequence)
            tell("stream ended", logging.DEBUG, model=self.name, sequence=sequence)
        if sequences:
            await self._stepper.note({}, sequences)

    def _check(self, request: InferRequest) -> Waiting:
        """Tell a step from a chunk, and hold the inputs against the contract. Noise may be left out."""
        for wanted in request.wanted:
            if wanted not in self._outputs:  # before a step is taken that its client would not see
                raise InvalidInput(f"there is no output '{wanted}'; there is {', '.join(self._outputs)}")
        expected = [spec for spec in self.contract.inputs if spec.role is not Role.NOISE or spec.name in request.inputs]
        ranks = {len(spec.axes) - request.inputs[spec.name].ndim for spec in expected if spec.name in request.inputs}
        chunk = ranks == {-1}
        sizes = check_tensors(
            [self._in_time[spec.name] for spec in expected] if chunk else expected, request.inputs, "input"
        )
        check_finite(request.inputs, "input")
        return Waiting(request, request.inputs, sizes["batch"], sizes["time"] if chunk else None)

    async def _serve(self) -> None:
        while True:
            await self._queue.news.wait()
            full = len(self._queue) >= self.limits.max_batch
            await asyncio.sleep(0 if full else self.limits.max_wait)  # 0 still lets in what has arrived by now
            ready = self._ready(self._queue.take(self.limits.max_batch, alone=self.contract.couples_batch))
            if not ready:
                continue
            self._stepping = {waiting.request.sequence for waiting, _ in ready}
            try:
                results = await self._stepper.step(ready)
            except Exception as error:  # noqa: BLE001  (whatever a runtime raises, the others must be served on)
                for waiting, _ in ready:
                    self._fail(waiting, error)
            else:
                for (waiting, _), (outputs, after) in zip(ready, results, strict=True):
                    self._keep(waiting, outputs, after)
                taken = [
                    Step(waiting.request.sequence, waiting.batch, waiting.steps, after.steps, outputs)
                    for (waiting, _), (outputs, after) in zip(ready, results, strict=True)
                ]
                report(self._observers, self.name, self.contract, taken)
            self._stepping = set()

    def _ready(self, together: list[Waiting]) -> list[tuple[Waiting, Stream]]:
        """Requests with the streams that they step; those that have none are told why."""
        ready = []
        for waiting in together:
            try:
                ready.append((waiting, self._stream_of(waiting)))
            except (InvalidInput, Elsewhere, Busy) as error:
                waiting.fail(error)
        return ready

    def _stream_of(self, waiting: Waiting) -> Stream:
        request = waiting.request
        stream = None if request.sequence is None else self.streams.get(request.sequence)
        if request.sequence is None or request.start:
            fresh = new_stream(self.bundle.initial_state(waiting.batch), waiting.batch, request.sequence, request.seed)
            if request.sequence is not None and stream is None:
                if not self._room_for(fresh):
                    raise Busy(f"{len(self.streams)} streams are all that {self.name} keeps")
                self._put(request.sequence, fresh)  # its place is taken: others that start now see it
            tell("stream starts", logging.DEBUG, model=self.name, sequence=request.sequence)
            return fresh
        if stream is None:
            raise InvalidInput(
                f"sequence {request.sequence!r} has no stream here: it was not started with sequence_start, or it "
                f"has ended, or it was idle for {self.limits.idle_timeout:g} s"
            )
        if request.step not in (None, stream.steps):
            raise Elsewhere(
                f"the stream of sequence {request.sequence!r} has taken {stream.steps} steps, and not {request.step}: "
                f"an answer may have been lost on its way"
            )
        if stream.batch != waiting.batch:
            raise InvalidInput(f"inputs have a batch of {waiting.batch}, and the stream one of {stream.batch}")
        return stream

    def _room_for(self, stream: Stream) -> bool:
        return len(self.streams) < self.limits.max_streams and self._bytes + stream.bytes <= self.limits.max_state_bytes

    def _keep(self, waiting: Waiting, outputs: Arrays, after: Stream) -> None:
        """Take a step's results: the stream goes on from here, and its client gets the outputs."""
        sequence = waiting.request.sequence
        if sequence is not None:
            if waiting.request.end:
                self._drop(sequence)
                tell("stream ended", logging.DEBUG, model=self.name, sequence=sequence, steps=after.steps)
            else:
                self._put(sequence, after)
        if not waiting.answer.done():
            waiting.answer.set_result(Answer(outputs, after.steps))

    def _fail(self, waiting: Waiting, error: Exception) -> None:
        """A step that failed: its stream is where it was, and one that was to begin with it has not begun."""
        sequence = waiting.request.sequence
        stream = None if sequence is None else self.streams.get(sequence)
        if sequence is not None and stream and waiting.request.start and not stream.steps:
            self._drop(sequence)
        waiting.fail(error)

    def _put(self, sequence: Sequence, stream: Stream) -> None:
        before = self.streams.pop(sequence, None)  # those that were stepped last stand last
        self.streams[sequence] = stream
        if not before:
            self._bytes += stream.bytes
        elif before.batch != stream.batch:  # else nothing has changed, and to count it would take longer than all else here
            self._bytes += stream.bytes - before.bytes

    def _drop(self, sequence: Sequence) -> None:
        stream = self.streams.pop(sequence, None)
        if stream:
            self._bytes -= stream.bytes

    async def _sweep(self) -> None:
        """Drop the streams of clients that have not been heard of for long."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.idle_timeout / 4))
            await self.forget_idle(monotonic() - self.limits.idle_timeout)

    async def forget_idle(self, since: float) -> None:
        """Drop the streams that were last stepped before, and that no request waits for."""
        waiting = self._queue.sequences() | self._stepping
        idle = [name for name, stream in self.streams.items() if stream.used < since and name not in waiting]
        for sequence in idle:
            tell("idle stream forgotten", model=self.name, sequence=sequence, steps=self.streams[sequence].steps)
        await self.forget(idle)
