"""Stateful property test of streams: after any sequence of operations, each stream equals its twin in eager torch."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.errors import ServerBusy, StepConflict
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.stream import draw_noise, new_stream, pack_stream, unpack_stream
from deploy_snn.tensors import Arrays

EXPORT = Path(__file__).parent.parent.parent / "export"
MOST = 4
NAMES = st.sampled_from(["a", "b", "c", 1, 2, "1"])
BUNDLES = {name: Bundle.open(EXPORT / name) for name in ("lif", "srm0", "diehl-and-cook")}
EAGER = {name: Eager(bundle) for name, bundle in BUNDLES.items()}


@dataclass
class Twin:
    """The expected state of a stream, computed by eager torch."""

    state: Arrays
    generator: Any
    batch: int
    steps: int = 0
    used: float = field(default_factory=monotonic)


class StreamsStateMachine(RuleBasedStateMachine):
    """Random operations on the streams of one model, each with a twin."""

    @initialize(name=st.sampled_from(sorted(BUNDLES)))
    def begin(self, name: str) -> None:
        self.name, self.bundle, self.twins = name, BUNDLES[name], dict[Any, Twin]()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.open()

    def open(self) -> None:
        kept = Checkpoint(self.folder, self.name, self.bundle)
        self.model = Model(self.bundle, "onnxruntime-cpu", Limits(max_streams=MOST, idle_timeout=3600), kept)
        self.do(self.serve())

    async def serve(self) -> None:
        self.model.open()

    def do(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    def request(self, name: Any, x: np.ndarray, **options: Any) -> InferRequest:
        sent = InferRequest("", {"x": x}, {}, False, name, start=False, end=False, seed=None)
        return replace(sent, **options)

    def draw(self, seed: int, steps: int | None, batch: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return 25 * rng.random((*((steps,) if steps else ()), batch, 8), np.float32)

    def step_twin(self, twin: Twin, x: np.ndarray) -> np.ndarray:
        """Step the twin with the inputs of the request, and return the expected spikes."""
        chunk = x if x.ndim == 3 else x[None]
        noise = draw_noise(twin.generator, self.bundle.contract, {"x": x}, twin.batch, len(chunk))
        eager, spikes = EAGER[self.name], []
        eager.start(twin.state)
        for step in range(len(chunk)):
            given = {"x": chunk[step]} | {key: array[step] for key, array in noise.items()}
            spikes.append(eager.step(given)["s"].copy())
        twin.state = {key: array.copy() for key, array in eager.state().items()}
        twin.steps, twin.used = twin.steps + len(chunk), monotonic()
        return np.stack(spikes) if x.ndim == 3 else spikes[0]

    def new_twin(self, name: Any, batch: int, seed: int | None = None) -> Twin:
        return Twin(self.bundle.initial_state(batch), new_stream({}, batch, name, seed).generator, batch)

    def check(self, answer: Any, twin: Twin, x: np.ndarray) -> None:
        assert_array_equal(answer.outputs["s"], self.step_twin(twin, x))
        assert answer.steps == twin.steps

    @rule(name=NAMES, seed=st.integers(0, 9), batch=st.sampled_from([1, 2]), steps=st.sampled_from([None, 1, 5]))
    def start(self, name: Any, seed: int, batch: int, steps: int | None) -> None:
        x = self.draw(seed, steps, batch)
        sent = self.request(name, x, start=True, seed=seed)
        if name not in self.twins and len(self.twins) == MOST:
            with pytest.raises(ServerBusy):
                self.do(self.model.infer(sent))
            return
        answer = self.do(self.model.infer(sent))
        self.twins[name] = self.new_twin(name, batch, seed)
        self.check(answer, self.twins[name], x)

    @rule(
        names=st.lists(NAMES, min_size=1, max_size=5),
        seed=st.integers(0, 99),
        steps=st.sampled_from([None, None, 1, 3, 20]),
    )
    def step(self, names: list[Any], seed: int, steps: int | None) -> None:
        """Send several steps at the same time: those of one stream run in order, and unknown streams give an error."""
        sent = [
            self.request(name, self.draw(seed + place, steps, self.twins[name].batch if name in self.twins else 1))
            for place, name in enumerate(names)
        ]

        async def together() -> list[Any]:
            return await asyncio.gather(*map(self.model.infer, sent), return_exceptions=True)

        for request, answer in zip(sent, self.do(together()), strict=True):
            if request.sequence in self.twins:
                self.check(answer, self.twins[request.sequence], request.inputs["x"])
            else:
                assert isinstance(answer, InvalidInput)

    @rule(seed=st.integers(0, 9), steps=st.sampled_from([None, 4]))
    def run_without_stream(self, seed: int, steps: int | None) -> None:
        x = self.draw(seed, steps, 2)
        self.check(self.do(self.model.infer(self.request(None, x, seed=seed))), self.new_twin(None, 2, seed), x)

    @precondition(lambda self: self.twins)
    @rule(data=st.data(), seed=st.integers(0, 9))
    def end(self, data: st.DataObject, seed: int) -> None:
        name = data.draw(st.sampled_from(list(self.twins)))
        x = self.draw(seed, None, self.twins[name].batch)
        self.check(self.do(self.model.infer(self.request(name, x, end=True))), self.twins.pop(name), x)

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def invalid_request(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.twins)))
        twin = self.twins[name]
        x = self.draw(0, None, twin.batch)
        wrong = [
            (self.request(name, x[:, :-1]), InvalidInput),
            (self.request(name, np.concatenate([x, x])), InvalidInput),
            (self.request(name, x * np.nan), InvalidInput),
            (self.request(name, x, outputs={"v": False}), InvalidInput),
            (self.request(name, x, step=twin.steps + 1), StepConflict),
        ]
        sent, error = data.draw(st.sampled_from(wrong))
        with pytest.raises(error):
            self.do(self.model.infer(sent))

    @precondition(lambda self: self.twins)
    @rule(data=st.data(), name=NAMES)
    def move(self, data: st.DataObject, name: Any) -> None:
        """Export a stream, and import it under another name."""
        old = data.draw(st.sampled_from(list(self.twins)))
        packed = pack_stream(self.model.streams[old])
        stream = unpack_stream(packed, self.bundle.contract, name, "the body")
        if name in self.twins or len(self.twins) == MOST:
            with pytest.raises(StepConflict if name in self.twins else ServerBusy):
                self.do(self.model.import_stream(name, stream))
            return
        self.do(self.model.import_stream(name, stream))
        generator = new_stream({}, 1, name, None).generator
        generator.bit_generator.state = self.twins[old].generator.bit_generator.state
        self.twins[name] = replace(self.twins[old], generator=generator, used=monotonic())

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def drop_idle_streams(self, data: st.DataObject) -> None:
        """Drop as idle all streams that were last used before a random one."""
        since = self.model.streams[data.draw(st.sampled_from(list(self.twins)))].last_used
        self.twins = {name: twin for name, twin in self.twins.items() if self.model.streams[name].last_used >= since}
        self.do(self.model.drop_idle(since))

    @rule(graceful=st.booleans())
    def restart(self, graceful: bool) -> None:
        """Restart the server after a graceful stop, or after a kill that loses all that is not on disk."""
        if graceful:
            self.do(self.model.close())
        else:
            for task in self.model._tasks:
                task.cancel()
            self.do(asyncio.sleep(0))
            self.model._stepper.close()
        self.open()

    @invariant()
    def streams_equal_twins(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.model.streams.keys() == self.twins.keys()
        for name, twin in self.twins.items():
            stream = self.model.streams[name]
            assert (stream.steps, stream.batch) == (twin.steps, twin.batch)
            for key, array in twin.state.items():
                assert_array_equal(stream.state[key], array)
        assert self.model.state_bytes == sum(array.nbytes for twin in self.twins.values() for array in twin.state.values())
        assert self.model.queued == 0

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.do(self.model.close())
            self.loop.close()
            shutil.rmtree(self.folder)


TestStreams = StreamsStateMachine.TestCase
TestStreams.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
