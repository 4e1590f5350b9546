"""Steps a model's streams, one batch at a time: in the event loop if that is fast, else in a thread."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Role
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes import find_runtime
from deploy_snn.server.batch import BatchEntry, BatchResult, step_together
from deploy_snn.server.errors import StepConflict
from deploy_snn.server.names import SequenceId
from deploy_snn.server.queue import PendingRequest
from deploy_snn.server.store import Store
from deploy_snn.server.stream import Stream, add_noise, copy_generator
from deploy_snn.tensors import Arrays

FAST_STEP = 0.005
"""Steps that take fewer seconds than this run in the event loop: a thread that is done waits up to 5 ms for the GIL."""

PIECE_SECONDS = 0.02
"""A long chunk is stepped in pieces of about so many seconds. Between them, other streams are stepped."""

T = TypeVar("T")
Batch = list[tuple[PendingRequest, Stream]]
Stepped = list[tuple[Arrays, Stream] | Exception]
"""The outputs of each request and its stream after the step, or the error for which its stream is unchanged."""


class Stepper:
    """A runtime, with a thread for slow work: large steps, chunks, and the store of streams.

    Args:
        bundle: the bundle to step.
        runtime: the name of the runtime.
        store: where the streams are stored, or None.
    """

    def __init__(self, bundle: Bundle, runtime: str, store: Store | None) -> None:
        self.contract = bundle.contract
        self._draws_noise = any(spec.role is Role.NOISE for spec in self.contract.inputs)
        self._runtime = find_runtime(runtime, bundle)(bundle)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=bundle.path.resolve().name)
        self._store = store
        self._piece = 16
        """How many steps of a chunk are taken at once: about as many as fit in PIECE_SECONDS."""
        self._fast_rows = 0
        """Batches of at most so many rows have taken less than FAST_STEP."""
        for steps in ((), (1,)):  # a step and a chunk: the runtime loads its files before there are clients to wait for it
            inputs = {spec.name: np.zeros((*steps, *spec.shape(batch=1)), spec.dtype) for spec in self.contract.inputs}
            entry = BatchEntry(inputs, bundle.initial_state(1), 1)
            step_together(self._runtime, self.contract, [entry], chunk=bool(steps))

    async def step(self, batch: Batch) -> Stepped:
        """Step streams together. Raises whatever the store raises; all streams are then unchanged."""
        is_step, rows = batch[0][0].steps is None, sum(pending.batch for pending, _ in batch)
        start = perf_counter()
        if is_step and rows <= self._fast_rows and not self._store:
            results = self.step_now(batch)
        else:
            results = await self.in_thread(self.step_now, batch)
        if is_step:
            fast = perf_counter() - start < FAST_STEP
            self._fast_rows = max(self._fast_rows, rows) if fast else min(self._fast_rows, rows - 1)
        return results

    def step_now(self, batch: Batch) -> Stepped:
        """Step streams together in the calling thread: one step, or the next piece of a chunk.

        Streams whose request is then complete are stored, if there is a store.
        """
        left = [pending.steps - pending.taken for pending, _ in batch if pending.steps is not None]
        steps = min(*left, self._piece) if left else None
        entries, generators = [], []
        for pending, stream in batch:
            inputs, generator = pending.request.inputs, stream.generator
            if steps is not None:
                inputs = {name: array[pending.taken : pending.taken + steps] for name, array in inputs.items()}
            if self._draws_noise:
                generator = copy_generator(generator)
                inputs = add_noise(inputs, generator, self.contract, pending.batch, steps)
            generators.append(generator)
            entries.append(BatchEntry(inputs, stream.state, pending.batch))
        begun = perf_counter()
        results = self._run(entries, chunk=steps is not None)
        if steps is not None:
            self._piece = max(1, min(2 * self._piece, int(steps * PIECE_SECONDS / (perf_counter() - begun))))
        stepped: Stepped = []
        for (pending, stream), result, generator in zip(batch, results, generators, strict=True):
            if isinstance(result, Exception):
                stepped.append(result)
                continue
            after = Stream(stream.batch, result.state, generator, stream.steps + (steps or 1), token=stream.token)
            if result.infinite and _is_complete(pending, steps):  # no server could load it again
                problem = f"the inputs drive state '{result.infinite}' to infinity or NaN; the stream is unchanged"
                stepped.append(InvalidInput(problem))
            else:
                stepped.append((result.outputs, after))
        return self._save_complete(batch, stepped, steps) if self._store else stepped

    def _run(self, entries: Sequence[BatchEntry], *, chunk: bool) -> Sequence[BatchResult | Exception]:
        """Step entries together; if the runtime fails, one by one, so that only those fail that it cannot step."""
        try:
            return step_together(self._runtime, self.contract, entries, chunk=chunk)
        except Exception as error:  # noqa: BLE001  (a runtime may raise anything)
            if len(entries) == 1:
                return [error]
        return [result for entry in entries for result in self._run([entry], chunk=chunk)]

    def _save_complete(self, batch: Batch, stepped: Stepped, steps: int | None) -> Stepped:
        """Store the streams whose request is complete. One that another server has taken over counts as not stepped."""
        complete = {
            pending.request.sequence: (step[1], pending.request)
            for (pending, _), step in zip(batch, stepped, strict=True)
            if not isinstance(step, Exception) and _is_complete(pending, steps) and pending.request.sequence is not None
        }
        if not complete or self._store is None:
            return stepped
        refused = self._store.write(
            {name: stream for name, (stream, request) in complete.items() if not request.end},
            {name: stream for name, (stream, request) in complete.items() if request.end},
            {name: request.inputs for name, (_, request) in complete.items()},
        )
        taken_over = "another server has taken over the stream of sequence {!r}: this request was not stepped"
        return [
            StepConflict(taken_over.format(pending.request.sequence)) if pending.request.sequence in refused else step
            for (pending, _), step in zip(batch, stepped, strict=True)
        ]

    @property
    def problem(self) -> str | None:
        """Why the store cannot be used, or None."""
        return self._store.problem if self._store else None

    async def retry(self) -> None:
        """Find out whether the store's problem is over."""
        if self._store:
            await self.in_thread(self._store.retry)

    async def save(self, streams: Mapping[SequenceId, Stream], ended: Mapping[SequenceId, Stream]) -> None:
        """Store a change that is made without a step. Raises StoreFailed."""
        if self._store:
            await self.in_thread(self._store.write, streams, ended)

    async def settle(self, streams: Mapping[SequenceId, Stream]) -> None:
        """Store whole those streams that have a journal. Raises StoreFailed."""
        if self._store:
            await self.in_thread(self._store.settle, dict(streams))

    def close(self) -> None:
        """End the thread and close the store."""
        self._thread.shutdown()
        if self._store:
            self._store.close()

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the thread, after the calls before it: the store is used there only."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _is_complete(pending: PendingRequest, steps: int | None) -> bool:
    """Whether a request is complete once it has taken so many more steps; None for a step without a time axis."""
    return steps is None or pending.taken + steps == pending.steps
