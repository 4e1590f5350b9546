"""A model being served: its streams, and the loop that steps requests of several streams as one batch."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from time import monotonic

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import ServerBusy, StepConflict, StoreFailed
from deploy_snn.server.large import run_sized
from deploy_snn.server.limits import Limits
from deploy_snn.server.log import LOGGER, log_event
from deploy_snn.server.names import SequenceId
from deploy_snn.server.observer import CompletedRequest, Observer, notify
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.queue import Answer, InferResult, PendingRequest, RequestQueue
from deploy_snn.server.request_checks import RequestChecks
from deploy_snn.server.stepper import Batch, Stepped, Stepper
from deploy_snn.server.store import SharedStore, Store
from deploy_snn.server.stream import MAX_STEPS, Stream, new_stream
from deploy_snn.tensors import Arrays

LONGEST_BATCH = 30.0
"""A batch that takes more seconds than this makes its model not ready."""
RESTART_DELAY = 0.1
"""Seconds after which a task that has failed is started again."""


class Model:
    """Steps the requests of each stream in order, and those of different streams in batches.

    Args:
        bundle: the bundle to serve.
        runtime: the name of the runtime.
        limits: its limits.
        store: where the streams are stored too, or None to keep them in memory only.
        observers: notified of every batch.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: str,
        limits: Limits,
        store: Store | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.bundle = bundle
        self.name = bundle.path.resolve().name
        self.contract = bundle.contract
        self.platform = f"deploy_snn_{runtime}"
        self.limits = limits
        self.streams: dict[SequenceId, Stream] = {}
        """The streams, least recently stepped first. With a shared store these are copies, which may be out of date."""
        self._checks = RequestChecks(self.contract, limits)
        self._shared = store if isinstance(store, SharedStore) else None
        self._stepper = Stepper(bundle, runtime, store)
        self._queue = RequestQueue()
        self._tasks: list[asyncio.Task[None]] = []
        self._state_bytes = 0
        self._closing = False
        self._unfinished: deque[tuple[PendingRequest, Stream]] = deque()
        """Long chunks that have been stepped in part, with their streams after it."""
        self._importing: dict[SequenceId, int] = {}
        """The streams that are being stored, and their sizes in bytes."""
        self._claiming: set[SequenceId] = set()
        """The streams of the batch that is being put together, with a shared store."""
        self._batch_since: float | None = None
        self._stepping: set[SequenceId | None] = set()
        self._observers = tuple(observers)
        for sequence, stream in store.load().items() if store else ():
            self._put(sequence, stream)
        self._unanswered: set[PendingRequest] = set()
        self._all_answered = asyncio.Event()
        """Set once the model is closing and has answered all requests."""

    @property
    def queued(self) -> int:
        """The number of requests in the queue."""
        return len(self._queue)

    @property
    def state_bytes(self) -> int:
        """The memory of all streams' states."""
        return self._state_bytes

    def open(self) -> None:
        """Start serving, in the running event loop."""
        self._tasks = [asyncio.create_task(self._supervise(task)) for task in (self._serve, self._expire_idle)]

    def problem(self) -> str | None:
        """Why the model cannot answer requests now, in a sentence, or None if it can."""
        if self._closing:
            return f"{self.name} is shutting down"
        if not self._tasks or any(task.done() for task in self._tasks):
            return f"{self.name} is not running"
        if self._batch_since is not None and monotonic() - self._batch_since > LONGEST_BATCH:
            return f"{self.name} has been stepping a batch for more than {LONGEST_BATCH:g} s"
        return self._stepper.problem

    async def _supervise(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task, and start it again whenever it fails."""
        while True:
            try:
                await task()
            except Exception:  # noqa: BLE001  (whatever it is, the model must go on)
                LOGGER.exception("task failed", extra={"fields": {"model": self.name}})
                await asyncio.sleep(RESTART_DELAY)

    async def close(self) -> None:
        """Answer the pending requests, refuse new ones, and stop."""
        self._closing = True
        if self._unanswered:
            await self._all_answered.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreFailed):  # it is logged, and the next server replays the journals
            await self._stepper.settle(self.streams)
        self._stepper.close()

    async def infer(self, request: InferRequest) -> InferResult:
        """Step a request and return its outputs.

        Raises InvalidInput for inputs that break the contract or an unknown stream; StepConflict for a stream that is at
        another step than the client expects; ServerBusy if a limit is reached.
        """
        size = sum(array.nbytes for array in request.inputs.values())
        rows, steps = await run_sized(size, self._checks.sizes, request)
        future: asyncio.Future[InferResult] = asyncio.get_running_loop().create_future()

        def answer(result: InferResult | Exception) -> None:
            # A client that disconnects does not cancel its request: the stream may have been stepped already.
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._enqueue(request, rows, steps, answer)
        return await future

    def submit(self, request: InferRequest, on_answer: Answer) -> None:
        """Step a small request; ``on_answer`` is called with its result, or with the error of its step.

        It does without the tasks and futures that ``infer`` takes. Raises what ``infer`` raises before the step.
        """
        rows, steps = self._checks.sizes(request)
        self._enqueue(request, rows, steps, on_answer)

    def _enqueue(self, request: InferRequest, rows: int, steps: int | None, on_answer: Answer) -> None:
        self._check_open()
        if len(self._queue) >= self.limits.max_queue:
            raise ServerBusy(f"the queue of {self.name} is full: {len(self._queue)} requests are waiting")
        pending = PendingRequest(request, rows, steps, on_answer)
        self._unanswered.add(pending)
        self._queue.put(pending)

    def _answer(self, pending: PendingRequest, result: InferResult | Exception) -> None:
        self._unanswered.discard(pending)
        pending.answer(result)
        if self._closing and not self._unanswered:
            self._all_answered.set()

    async def stream(self, sequence: SequenceId) -> Stream:
        """The current state of a stream. Raises InvalidInput for an unknown one, StoreFailed if it cannot be read."""
        if self._shared:
            self._check_open()
            stream = await self._stepper.in_thread(self._shared.read, sequence)
        else:
            stream = self.streams.get(sequence)
        if stream is None:
            raise InvalidInput(f"sequence {sequence!r} has no stream here")
        return stream

    async def import_stream(self, sequence: SequenceId, stream: Stream) -> None:
        """Add a stream from another server.

        Raises StepConflict if a stream of this name exists, ServerBusy if a limit is reached, StoreFailed if it cannot
        be stored.
        """
        if self._shared:  # which decides, and from which the stream's next request reads it
            self._check_open()
            if not await self._stepper.in_thread(self._shared.add, sequence, stream):
                raise StepConflict(f"sequence {sequence!r} already has a stream in the store")
            log_event("stream imported", model=self.name, sequence=sequence, step=stream.steps)
            return
        if sequence in self.streams:
            steps = self.streams[sequence].steps
            raise StepConflict(f"sequence {sequence!r} already has a stream here, at step {steps}")
        if sequence in self._importing:
            raise StepConflict(f"sequence {sequence!r} is being imported by another request")
        self._check_open()
        self._check_room(stream.nbytes)
        self._importing[sequence] = stream.nbytes
        try:
            await self._stepper.save({sequence: stream}, {})
        finally:
            del self._importing[sequence]
        self._put(sequence, stream)
        log_event("stream imported", model=self.name, sequence=sequence, step=stream.steps)

    async def drop_streams(self, sequences: list[SequenceId]) -> None:
        """End streams without a last step, except those that are stepped meanwhile. Raises StoreFailed.

        Of a shared store, those that this server held last.
        """
        ending = {name: self.streams[name] for name in sequences if name in self.streams}
        if ending:
            await self._stepper.save({}, ending)
        for sequence, stream in ending.items():
            if self.streams.get(sequence) is stream:  # else a step has stored it again
                self._drop(sequence)
                log_event("stream ended", logging.DEBUG, model=self.name, sequence=sequence)

    def _check_open(self) -> None:
        if self._closing:
            raise ServerBusy(f"{self.name} is shutting down")

    def _check_room(self, size: int, replaced: Stream | None = None) -> None:
        """Check, before memory is taken, that there is room for a stream of so many bytes in the place of another."""
        limits = self.limits
        while not self._has_room(size, replaced):
            if self._shared and self._forget_one():
                continue
            raise ServerBusy(
                f"{self.name} has no room for another stream: it has {len(self.streams)} of at most {limits.max_streams}, "
                f"with {self._state_bytes} of at most {limits.max_state_bytes} bytes of state"
            )

    def _has_room(self, size: int, replaced: Stream | None) -> bool:
        count = len(self.streams) + len(self._importing) - (replaced is not None)
        total = self._state_bytes + sum(self._importing.values()) + size - (replaced.nbytes if replaced else 0)
        return count < self.limits.max_streams and total <= self.limits.max_state_bytes

    def _forget_one(self) -> bool:
        """Forget the copy of the stream in a shared store that has waited longest for a step; False if there is none."""
        busy = self._busy()
        oldest = next((name for name in self.streams if name not in busy), None)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def _busy(self) -> set[SequenceId | None]:
        """The streams that have a request which is pending or being stepped."""
        unfinished = {pending.request.sequence for pending, _ in self._unfinished}
        return self._queue.sequences() | self._claiming | self._stepping | unfinished

    async def _serve(self) -> None:
        while True:
            if not self._unfinished:
                await self._queue.not_empty.wait()
            full = self._unfinished or len(self._queue) >= self.limits.max_batch
            await asyncio.sleep(0 if full else self.limits.max_wait)  # even 0 lets requests in that have arrived by now
            unfinished = (pending.request.sequence for pending, _ in self._unfinished)
            busy = {sequence for sequence in unfinished if sequence is not None}
            requests = self._queue.take_batch(self.limits.max_batch, single=self.contract.couples_batch, busy=busy)
            if self._shared:
                requests = await self._claim(requests, self._shared)
            batch = self._find_streams(requests)
            self._claiming = set()
            await self._step(batch)
            await self._step(self._take_unfinished())  # one piece after each batch

    async def _claim(self, requests: list[PendingRequest], store: SharedStore) -> list[PendingRequest]:
        """Bring the streams of requests up to date with a shared store, and shut other servers out until they claim them.

        Returns the requests that can go on; the others have failed.
        """
        named = {pending.request.sequence: pending for pending in requests if pending.request.sequence is not None}
        if not named:
            return requests
        self._claiming = set(named)
        held = {name: self.streams.get(name) for name, pending in named.items() if not pending.request.start}
        starting = {name for name, pending in named.items() if pending.request.start and pending.request.step is None}
        try:
            claim = await self._stepper.in_thread(store.claim, held, starting, named.keys() - held.keys() - starting)
        except Exception as error:  # noqa: BLE001  (whatever it is, the loop must go on)
            for pending in named.values():
                self._answer(pending, error)
            return [pending for pending in requests if pending.request.sequence is None]
        ready = []
        for pending in requests:
            name, pending.token = pending.request.sequence, claim.token
            try:
                if name is not None and name not in starting:
                    self._refresh(name, claim.streams.get(name))
            except Exception as error:  # noqa: BLE001  (no room, or no memory: the other requests go on)
                self._answer(pending, error)
            else:
                ready.append(pending)
        return ready

    def _refresh(self, sequence: SequenceId, stream: Stream | None) -> None:
        """Replace the copy of a stream by what a shared store has. Raises ServerBusy if there is no room for it."""
        copy = self.streams.get(sequence)
        if stream is None:
            self._drop(sequence)
        else:
            if copy is None or copy.batch != stream.batch:
                self._check_room(stream.nbytes, copy)
            self._put(sequence, stream)

    async def _step(self, batch: Batch) -> None:
        """Step requests together; answer those that are complete, and keep the others for their next piece."""
        if not batch:
            return
        self._batch_since, self._stepping = monotonic(), {pending.request.sequence for pending, _ in batch}
        try:
            self._finish(batch, await self._stepper.step(batch))
        except Exception as error:  # noqa: BLE001  (a runtime may raise anything; the loop must go on)
            for pending, _ in batch:
                self._fail(pending, error)
        finally:
            self._batch_since, self._stepping = None, set()

    def _finish(self, batch: Batch, results: Stepped) -> None:
        completed = []
        for (pending, _), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._fail(pending, result)
                continue
            outputs, after = result
            if pending.steps is not None:
                pending.taken += len(next(iter(outputs.values())))
                pending.parts.append(outputs)
                if pending.taken < pending.steps:
                    self._unfinished.append((pending, after))
                    continue
                outputs = {name: np.concatenate([part[name] for part in pending.parts]) for name in outputs}
            self._commit(pending, outputs, after)
            completed.append(CompletedRequest(pending.request.sequence, pending.batch, pending.steps, after.steps, outputs))
        notify(self._observers, self.name, self.contract, completed)

    def _take_unfinished(self) -> Batch:
        """Remove and return the long chunks whose next pieces are stepped together, those that waited longest first."""
        batch: Batch = []
        rows = 0
        while self._unfinished:
            more = self._unfinished[0][0].batch
            if batch and (self.contract.couples_batch or rows + more > self.limits.max_batch):
                break
            batch.append(self._unfinished.popleft())
            rows += more
        return batch

    def _find_streams(self, batch: list[PendingRequest]) -> list[tuple[PendingRequest, Stream]]:
        """Pair requests with their streams. A request without a valid stream fails."""
        found = []
        for pending in batch:
            try:
                found.append((pending, self._stream_of(pending)))
            except Exception as error:  # noqa: BLE001  (memory may be exhausted: the other requests go on)
                self._answer(pending, error)
        return found

    def _stream_of(self, pending: PendingRequest) -> Stream:
        request = pending.request
        stream = None if request.sequence is None else self.streams.get(request.sequence)
        if request.start and request.step:
            raise InvalidInput(f"sequence_start begins a stream at step 0, not {request.step}")
        known_steps = stream.steps if stream else 0
        if (stream or request.start) and request.step not in (None, known_steps):
            raise StepConflict(
                f"the stream of sequence {request.sequence!r} has taken {known_steps} steps, not {request.step}: "
                f"a response may have been lost"
            )
        if request.sequence is None or request.start:
            if request.sequence is not None:
                if request.sequence in self._importing:
                    raise StepConflict(f"sequence {request.sequence!r} is being imported by another request")
                self._check_room(self._checks.state_bytes(pending.batch), stream)
            fresh = new_stream(self.bundle.initial_state(pending.batch), pending.batch, request.sequence, request.seed)
            fresh = fresh.held_under(pending.token)
            if request.sequence is not None and stream is None:
                self._put(request.sequence, fresh)  # counts towards the limits of others that start in the same batch
            log_event("stream started", logging.DEBUG, model=self.name, sequence=request.sequence)
            return fresh
        if stream is None:
            raise InvalidInput(
                f"sequence {request.sequence!r} has no stream here: it was not started with sequence_start, or it "
                f"has ended, or it was idle for {self.limits.idle_timeout:g} s"
            )
        if stream.steps + (pending.steps or 1) > MAX_STEPS:
            raise InvalidInput(f"the stream of sequence {request.sequence!r} would take more than {MAX_STEPS} steps")
        if stream.batch != pending.batch:
            raise InvalidInput(f"the inputs have batch size {pending.batch}, but the stream has batch size {stream.batch}")
        return stream

    def _commit(self, pending: PendingRequest, outputs: Arrays, after: Stream) -> None:
        """Replace the stream by the one after the step, and answer the client."""
        sequence = pending.request.sequence
        if sequence is not None:
            if pending.request.end:
                self._drop(sequence)
                log_event("stream ended", logging.DEBUG, model=self.name, sequence=sequence, steps=after.steps)
            else:
                self._put(sequence, after)
        self._answer(pending, InferResult(outputs, after.steps))

    def _fail(self, pending: PendingRequest, error: Exception) -> None:
        """Answer a failed step with its error. Its stream is unchanged; a stream that started with it is removed."""
        sequence = pending.request.sequence
        stream = None if sequence is None else self.streams.get(sequence)
        if sequence is not None and stream and pending.request.start and not stream.steps:
            self._drop(sequence)
        self._answer(pending, error)

    def _put(self, sequence: SequenceId, stream: Stream) -> None:
        before = self.streams.pop(sequence, None)  # removed first, to be inserted at the end
        self.streams[sequence] = stream
        if not before:
            self._state_bytes += stream.nbytes
        elif before.batch != stream.batch:  # else the size is the same, and computing it is the slowest part here
            self._state_bytes += stream.nbytes - before.nbytes

    def _drop(self, sequence: SequenceId) -> None:
        stream = self.streams.pop(sequence, None)
        if stream:
            self._state_bytes -= stream.nbytes

    async def _expire_idle(self) -> None:
        """Drop idle streams, for as long as the model is served."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.idle_timeout / 4))
            if self._stepper.problem:
                await self._stepper.retry()
            with suppress(StoreFailed):  # it is logged, and the streams are dropped once it can be written again
                await self.drop_idle(monotonic() - self.limits.idle_timeout)

    async def drop_idle(self, since: float) -> None:
        """Drop the streams that have not been stepped since a time of the monotonic clock and have no pending request.

        Of streams in a shared store, only the copies: another server may have stepped them, and the store drops idle ones.
        """
        busy = self._busy()
        idle = [name for name, stream in self.streams.items() if stream.last_used < since and name not in busy]
        if self._shared:
            for sequence in idle:
                self._drop(sequence)
            return
        before = {sequence: self.streams[sequence].steps for sequence in idle}
        await self.drop_streams(idle)
        for sequence, steps in before.items():
            if sequence not in self.streams:
                log_event("idle stream dropped", model=self.name, sequence=sequence, steps=steps)
