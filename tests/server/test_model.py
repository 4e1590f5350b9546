"""The server's model: limits hold inside a batch, and a failed step changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Contract, Role, TensorSpec
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server import stepper
from deploy_snn.server.errors import ServerBusy, StepConflict
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.names import SequenceId
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.queue import InferResult
from deploy_snn.server.stream import draw_noise, new_stream

EXPORT = Path(__file__).parent.parent.parent / "export"


def request(
    sequence: SequenceId | None, *, start: bool = False, end: bool = False, value: float = 1.0, rows: int = 1
) -> InferRequest:
    return InferRequest("", {"x": np.full((rows, 8), value, np.float32)}, {}, False, sequence, start, end, None)


def run_with_model(limits: Limits, scenario: Callable[[Model], Awaitable[None]], name: str = "lif") -> None:
    async def serve() -> None:
        model = Model(Bundle.open(EXPORT / name), "onnxruntime-cpu", limits)
        model.open()
        await scenario(model)
        await asyncio.wait_for(model.close(), 10)

    asyncio.run(serve())


def test_max_streams_for_streams_that_start_together() -> None:
    """Streams that start in the same batch do not exceed max_streams."""

    async def scenario(model: Model) -> None:
        answers = [model.infer(request(f"s{i}", start=True)) for i in range(8)]
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(result) for result in results] == [InferResult] * 3 + [ServerBusy] * 5
        assert len(model.streams) == 3

    run_with_model(Limits(max_streams=3, max_wait=0.02), scenario)


def test_max_state_bytes() -> None:
    """The memory of all states stays below max_state_bytes; ended and restarted streams free theirs."""

    async def scenario(model: Model) -> None:
        for i in range(2):  # a LIF state takes 64 bytes
            await model.infer(request(f"s{i}", start=True))
        with pytest.raises(ServerBusy):
            await model.infer(request("s2", start=True))
        await model.infer(request("s0", end=True))
        await model.infer(request("s2", start=True))
        for _ in range(50):  # a restart frees the memory of the earlier stream
            await model.infer(request("s2", start=True))
        await model.infer(request("s1", end=True))
        await model.infer(request("s3", start=True))

    run_with_model(Limits(max_state_bytes=140), scenario)


def test_max_queue() -> None:
    """Requests beyond max_queue are rejected as busy."""

    async def scenario(model: Model) -> None:
        answers = [asyncio.ensure_future(model.infer(request(None))) for _ in range(9)]
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(result) for result in results] == [InferResult] * 4 + [ServerBusy] * 5

    run_with_model(Limits(max_queue=4, max_wait=0.02), scenario)


def test_repeated_start() -> None:
    """A repeated start with a step number is a conflict; without one it restarts the stream."""

    async def scenario(model: Model) -> None:
        first = replace(request("a", start=True), step=0)
        assert (await model.infer(first)).steps == 1
        with pytest.raises(StepConflict, match="has taken 1 steps, not 0"):
            await model.infer(first)
        with pytest.raises(InvalidInput, match="begins a stream at step 0, not 3"):
            await model.infer(replace(request("b", start=True), step=3))
        assert [(await model.infer(request("a"))).steps, (await model.infer(request("a", start=True))).steps] == [2, 1]

    run_with_model(Limits(), scenario)


def test_failed_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed step, the stream is unchanged, no new stream exists, and later requests are served."""

    async def scenario(model: Model) -> None:
        await model.infer(request("old", start=True, value=9.0))
        before = model.streams["old"].state
        step = model._stepper.step_now
        monkeypatch.setattr(model._stepper, "step_now", lambda _: 1 / 0)
        for sequence, start in (("old", False), ("new", True), ("old", True)):
            with pytest.raises(ZeroDivisionError):
                await model.infer(request(sequence, start=start))
        monkeypatch.setattr(model._stepper, "step_now", step)
        assert model.streams.keys() == {"old"}
        assert model.streams["old"].state is before
        assert model.streams["old"].steps == 1
        await model.infer(request("old"))
        assert model.streams["old"].steps == 2

    run_with_model(Limits(), scenario)


def test_failed_step_draws_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed step does not advance the noise generator of its stream."""
    bundle = Bundle.open(EXPORT / "srm0")
    x = {"x": np.full((20, 1, 8), 9, np.float32)}
    noise = draw_noise(new_stream({}, 1, "s", None).generator, bundle.contract, x, 1, 20)
    wanted = record(Eager(bundle).program, x | noise, bundle.initial_state(1)).outputs["s"]
    assert wanted.any()

    async def scenario(model: Model) -> None:
        for step in range(20):
            if step % 3 == 1:
                with monkeypatch.context() as broken:
                    broken.setattr("deploy_snn.server.stepper.step_together", lambda *_, **__: 1 / 0)
                    with pytest.raises(ZeroDivisionError):
                        await model.infer(request("s", value=9.0))
            answer = await model.infer(request("s", start=step == 0, value=9.0))
            assert_array_equal(answer.outputs["s"], wanted[step])

    run_with_model(Limits(), scenario, "srm0")


def test_noise_of_split_requests() -> None:
    """Noise does not depend on how the steps are split into requests. Streams 7 and "7" have different noise."""
    noises = tuple(TensorSpec(name=name, role=Role.NOISE).over((size,)) for name, size in (("a.noise", 3), ("b.noise", 5)))
    spikes = TensorSpec(name="s", role=Role.SPIKES, dtype="bool").over((3,))
    contract = Contract(dt=1.0, tensors=(*noises, spikes))
    whole = draw_noise(new_stream({}, 2, 7, None).generator, contract, {}, 2, 9)
    generator = new_stream({}, 2, 7, None).generator
    parts = [draw_noise(generator, contract, {}, 2, steps) for steps in (1, 4, 1, 3)]
    for name, array in whole.items():
        assert_array_equal(np.concatenate([part[name] for part in parts]), array)
    other = draw_noise(new_stream({}, 2, "7", None).generator, contract, {}, 2, 9)
    assert not np.array_equal(other["a.noise"], whole["a.noise"])


def record_batches(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[list[SequenceId | None]]:
    """Record the streams of each batch that the model steps from now on."""
    batches: list[list[SequenceId | None]] = []
    step = model._stepper.step_now

    def recording_step(ready: list) -> list:
        batches.append([pending.request.sequence for pending, _ in ready])
        return step(ready)

    monkeypatch.setattr(model._stepper, "step_now", recording_step)
    return batches


def test_max_batch_counts_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """max_batch limits rows, not requests. A request with more rows is stepped alone."""
    batches: list[list[SequenceId | None]] = []

    async def scenario(model: Model) -> None:
        nonlocal batches
        batches = record_batches(model, monkeypatch)
        rows = {"a": 1, "b": 2, "c": 2, "d": 1, "e": 5}
        await asyncio.gather(*(model.infer(request(name, start=True, rows=count)) for name, count in rows.items()))

    run_with_model(Limits(max_batch=3, max_wait=0.02), scenario)
    assert batches == [["a", "b"], ["c", "d"], ["e"]]


def test_concurrent_requests_form_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of different streams form one batch; requests of one stream are stepped in order, in later batches."""
    batches: list[list[SequenceId | None]] = []

    async def scenario(model: Model) -> None:
        nonlocal batches
        batches = record_batches(model, monkeypatch)
        asked: list[tuple[str, bool]] = [("a", True), ("b", True), ("a", False), ("c", True), ("d", True), ("a", False)]
        results = await asyncio.gather(*(model.infer(request(name, start=start)) for name, start in asked))
        assert len(results) == 6
        assert {name: stream.steps for name, stream in model.streams.items()} == {"a": 3, "b": 1, "c": 1, "d": 1}

    run_with_model(Limits(max_batch=3, max_wait=0.02), scenario)
    assert batches == [["a", "b", "c"], ["a", "d"], ["a"]]


def test_long_chunk_does_not_block_other_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long chunk is stepped in pieces, with equal outputs. Other streams are served in between; its own waits."""
    bundle = Bundle.open(EXPORT / "srm0")
    steps = 2000
    x = {"x": np.random.default_rng(0).random((steps, 1, 8), np.float32) * 25}
    noise = draw_noise(new_stream({}, 1, "long", None).generator, bundle.contract, x, 1, steps)
    wanted = record(Eager(bundle).program, x | noise, bundle.initial_state(1)).outputs["s"]
    order: list[str] = []

    async def scenario(model: Model) -> None:
        monkeypatch.setattr(stepper, "PIECE_SECONDS", 0.001)
        long = InferRequest("", x, {}, False, "long", start=True, end=False, seed=None)

        async def ask(name: str, asked: InferRequest) -> InferResult:
            answer = await model.infer(asked)
            order.append(name)
            return answer

        answers = [asyncio.ensure_future(ask("long", long)), asyncio.ensure_future(ask("later", request("long")))]
        await asyncio.sleep(0)
        answers += [asyncio.ensure_future(ask("other", request("other", start=True)))]
        answer, later, _ = await asyncio.gather(*answers)
        assert order == ["other", "long", "later"]
        assert_array_equal(answer.outputs["s"], wanted)
        assert (answer.steps, later.steps) == (steps, steps + 1)

    run_with_model(Limits(), scenario, "srm0")


def test_runtime_error_fails_only_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the runtime fails on a batch, each request is stepped alone, and only the faulty one fails."""
    step_together = stepper.step_together

    def faulty(runtime: Any, contract: Contract, entries: Any, **options: bool) -> Any:
        if any(entry.inputs["x"].max() > 5 for entry in entries):
            raise RuntimeError("kernel failed")
        return step_together(runtime, contract, entries, **options)

    async def scenario(model: Model) -> None:
        for name in ("good", "bad", "better"):
            await model.infer(request(name, start=True))
        monkeypatch.setattr(stepper, "step_together", faulty)
        asked = (("good", 1.0), ("bad", 9.0), ("better", 1.0))
        answers = await asyncio.gather(*(model.infer(request(n, value=v)) for n, v in asked), return_exceptions=True)
        assert [type(answer) for answer in answers] == [InferResult, RuntimeError, InferResult]
        assert {name: stream.steps for name, stream in model.streams.items()} == {"good": 2, "bad": 1, "better": 2}

    run_with_model(Limits(max_wait=0.02), scenario)


@pytest.mark.parametrize("chunk", [False, True])
def test_batch_of_streams_with_several_rows(chunk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch of streams with one, three and two rows, each stream gets its own rows, as eager torch computes them."""
    bundle = Bundle.open(EXPORT / "lif")
    rng = np.random.default_rng(0)
    drives = [rng.random((12, rows, 8), np.float32) * 25 for rows in (1, 3, 2)]
    wanted = [record(Eager(bundle).program, {"x": x}, bundle.initial_state(x.shape[1])).outputs["s"] for x in drives]
    together: list[int] = []

    async def scenario(model: Model) -> None:
        step = model._stepper.step_now
        monkeypatch.setattr(model._stepper, "step_now", lambda ready: together.append(len(ready)) or step(ready))
        for begin in range(0, 12, 4 if chunk else 1):
            part = slice(begin, begin + 4) if chunk else begin
            asked = [
                InferRequest("", {"x": x[part]}, {}, False, f"s{i}", begin == 0, False, None) for i, x in enumerate(drives)
            ]
            answers = await asyncio.gather(*map(model.infer, asked))
            for answer, whole in zip(answers, wanted, strict=True):
                assert_array_equal(answer.outputs["s"], whole[part])

    run_with_model(Limits(max_wait=0.02), scenario)
    assert set(together) == {3}
    assert all(array.any() for array in wanted)


def test_stream_with_a_queued_request_is_not_idle() -> None:
    """The idle timeout does not apply to a stream while one of its requests is queued."""

    async def scenario(model: Model) -> None:
        await model.infer(request("patient", start=True))
        await model.infer(request("patient"))  # it is queued for longer than the idle timeout
        assert model.streams["patient"].steps == 2
        await asyncio.sleep(0.6)
        assert not model.streams, "the idle stream was not dropped"

    run_with_model(Limits(max_wait=0.5, idle_timeout=0.2), scenario)


def test_queued_requests_do_not_block_the_event_loop() -> None:
    """A stream with many queued requests does not block the event loop."""

    async def scenario(model: Model) -> None:
        await model.infer(request("busy", start=True))
        waiting = asyncio.gather(*(model.infer(request("busy")) for _ in range(200)))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 200

    run_with_model(Limits(), scenario)


def test_cancelled_request_is_executed() -> None:
    """A request whose client disconnects is still executed."""

    async def scenario(model: Model) -> None:
        answer = asyncio.ensure_future(model.infer(request("gone", start=True)))
        await asyncio.sleep(0)
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await model.infer(request("gone"))
        assert model.streams["gone"].steps == 2

    run_with_model(Limits(max_wait=0.02), scenario)


def test_import_respects_max_streams() -> None:
    """An imported stream counts towards max_streams."""

    async def scenario(model: Model) -> None:
        await model.infer(request("here", start=True))
        moved = await model.stream("here")
        with pytest.raises(ServerBusy, match="lif has no room for another stream: it has 1 of at most 1"):
            await model.import_stream("moved", moved)
        await model.infer(request("here", end=True))
        await model.import_stream("moved", moved)
        assert model.streams == {"moved": moved}

    run_with_model(Limits(max_streams=1), scenario)


def test_errors_in_the_model_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error in the model's loop, later requests are served; if the loop hangs or stops, problem() reports it."""

    def exhausted(*_: object) -> None:
        raise MemoryError

    async def scenario(model: Model) -> None:
        for broken, attribute in ((model.bundle.__class__, "initial_state"), (model, "_commit")):
            with monkeypatch.context() as patched:
                patched.setattr(broken, attribute, exhausted)
                with pytest.raises(MemoryError):
                    await asyncio.wait_for(model.infer(request(None)), 5)
            assert model.problem() is None
            assert await asyncio.wait_for(model.infer(request("after", start=True)), 5)
        with monkeypatch.context() as patched:
            patched.setattr(model._queue, "take_batch", exhausted)
            answer = asyncio.ensure_future(model.infer(request("after")))
            await asyncio.sleep(0.05)
        assert (await asyncio.wait_for(answer, 5)).steps == 2
        monkeypatch.setattr("deploy_snn.server.model.LONGEST_BATCH", 0.0)
        monkeypatch.setattr(model._stepper, "step", lambda _: asyncio.sleep(0.2))
        asyncio.ensure_future(model.infer(request(None))).add_done_callback(lambda done: done.exception())
        await asyncio.sleep(0.1)
        assert model.problem() == "lif has been stepping a batch for more than 0 s"
        model._tasks[0].cancel()
        await asyncio.wait(model._tasks[:1])
        assert model.problem() == "lif is not running"
        model._unanswered.clear()

    run_with_model(Limits(), scenario)


@pytest.mark.parametrize(
    ("rows", "steps", "message"), [(65, None, "at most 64 rows"), (64, 100, "at most 99999 fit in a request")]
)
def test_max_rows_and_request_bytes(rows: int, steps: int | None, message: str) -> None:
    """Requests with too many rows or steps are rejected. A LIF row has 64 bytes of state, and 40 bytes of I/O a step."""
    shape = (rows, 8) if steps is None else (steps, rows, 8)

    async def scenario(model: Model) -> None:
        for shape_, fits in ((shape, False), ((64, 8), True), ((35, 64, 8), True)):
            asked = InferRequest("", {"x": np.zeros(shape_, np.float32)}, {}, False, None, False, False, None)
            if fits:
                await model.infer(asked)
            else:
                with pytest.raises(InvalidInput, match=message):
                    await model.infer(asked)

    run_with_model(Limits(max_rows=64, max_request_bytes=99_999), scenario)


def test_restart_with_more_rows_respects_max_state_bytes() -> None:
    """A restart with a larger batch is rejected if its state exceeds max_state_bytes, and the stream is unchanged."""

    async def scenario(model: Model) -> None:
        await model.infer(request("s", start=True))
        wide = InferRequest("", {"x": np.zeros((3, 8), np.float32)}, {}, False, "s", True, False, None)
        with pytest.raises(ServerBusy):
            await model.infer(wide)
        assert model.streams["s"].batch == 1

    run_with_model(Limits(max_state_bytes=128), scenario)
