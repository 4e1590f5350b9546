"""What steps a model's streams: a batch at a time, in the event loop where that takes no time, else in a thread."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Role
from deploy_snn.runtimes import find_runtime
from deploy_snn.server.batch import Part, step_together
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.protocol import Sequence
from deploy_snn.server.queue import Waiting
from deploy_snn.server.stream import Stream, copy_generator, draw_noise
from deploy_snn.tensors import Arrays

QUICK = 0.005
"""Seconds below which a step is not worth a thread: a thread that is done waits as long for the interpreter's lock."""

T = TypeVar("T")
Ready = list[tuple[Waiting, Stream]]
Stepped = list[tuple[Arrays, Stream]]


class Stepper:
    """A runtime, and the thread that it has for what takes long: large steps, chunks of them, and writing to disk.

    Args:
        bundle: what is stepped. runtime: the name of the runtime. checkpoint: where its streams are kept, if anywhere.
    """

    def __init__(self, bundle: Bundle, runtime: str, checkpoint: Checkpoint | None) -> None:
        self.contract = bundle.contract
        self._draws = any(spec.role is Role.NOISE for spec in self.contract.inputs)
        self._runtime = find_runtime(runtime)(bundle)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=bundle.path.resolve().name)
        self._checkpoint = checkpoint
        self._quick = False
        for steps in (
            (),
            (1,),
        ):  # it opens its files, and takes its buffers, before there are clients who would wait
            inputs = {spec.name: np.zeros((*steps, *spec.shape(batch=1)), spec.dtype) for spec in self.contract.inputs}
            step_together(self._runtime, self.contract, [Part(inputs, bundle.initial_state(1), 1)], chunk=bool(steps))

    async def step(self, ready: Ready) -> Stepped:
        """Step streams together. Raises whatever the runtime raises; the streams are then where they were."""
        single = ready[0][0].steps is None
        begun = perf_counter()
        if self._quick and single and not self._checkpoint:
            results = self.step_now(ready)
        else:
            results = await self._in_thread(self.step_now, ready)
        if single:
            self._quick = perf_counter() - begun < QUICK
        return results

    def step_now(self, ready: Ready) -> Stepped:
        """The same, here, with a note on disk of where the streams are now."""
        steps = ready[0][0].steps
        parts, generators = [], []
        for waiting, stream in ready:
            given, generator = waiting.inputs, stream.generator
            if self._draws:
                generator = copy_generator(generator)
                noise = draw_noise(generator, self.contract, given, waiting.batch, steps or 1)
                given = given | {name: array if steps else array[0] for name, array in noise.items()}
            generators.append(generator)
            parts.append(Part(given, stream.state, waiting.batch))
        results = step_together(self._runtime, self.contract, parts, chunk=steps is not None)
        after = [
            Stream(stream.batch, result.state, generator, stream.steps + (steps or 1))
            for (_, stream), result, generator in zip(ready, results, generators, strict=True)
        ]
        if self._checkpoint:
            asked = [(waiting.request, stream) for (waiting, _), stream in zip(ready, after, strict=True)]
            kept = {request.sequence: s for request, s in asked if request.sequence is not None and not request.end}
            ended = [request.sequence for request, _ in asked if request.sequence is not None and request.end]
            if kept or ended:
                self._checkpoint.write(kept, ended)
        return [(result.outputs, stream) for result, stream in zip(results, after, strict=True)]

    async def note(self, kept: Mapping[Sequence, Stream], ended: Iterable[Sequence]) -> None:
        """Note on disk what has changed without a step."""
        if self._checkpoint:
            await self._in_thread(self._checkpoint.write, kept, ended)

    def close(self) -> None:
        """End the thread, and let go of the file."""
        self._thread.shutdown()
        if self._checkpoint:
            self._checkpoint.close()

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
