"""Test any server with Triton's own clients: HTTP, HTTP with asyncio, and gRPC.

``drive`` runs all checks with one client. Nothing here depends on which server listens.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.http.aio
from numpy.testing import assert_array_equal
from tritonclient.utils import InferenceServerException

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.stream import draw_noise, new_stream
from deploy_snn.tensors import Arrays

EXPORT = Path(__file__).parent.parent / "export"
MODELS = ["lif", "srm0", "adaptive-lif", "diehl_cook_2015", "input"]
"""One model of each kind: plain, with noise, with a state shared by all rows, a network, and one without state."""

STATUSES = {"400": "invalid", "StatusCode.INVALID_ARGUMENT": "invalid", "404": "unknown", "StatusCode.NOT_FOUND": "unknown"}
TYPES = {"float32": "FP32", "bool": "BOOL", "float64": "FP64"}


@dataclass(frozen=True)
class Client:
    """One of Triton's clients. ``infer(model, inputs, sequence_id=..., ...)`` sends one request and returns the result."""

    package: Any
    call: Callable[..., Any]

    def infer(self, model: str, inputs: Arrays, **options: Any) -> Any:
        given = [
            self.package.InferInput(name, list(array.shape), TYPES[array.dtype.name]) for name, array in inputs.items()
        ]
        for tensor, array in zip(given, inputs.values(), strict=True):
            tensor.set_data_from_numpy(array)
        return self.call(model, given, **options)

    def refused(self, model: str, inputs: Arrays, status: str = "invalid", **options: Any) -> None:
        with pytest.raises(InferenceServerException) as error:
            self.infer(model, inputs, **options)
        assert STATUSES[error.value.status()] == status, error.value


@contextmanager
def http(address: str) -> Iterator[Client]:
    with tritonclient.http.InferenceServerClient(address) as client:
        yield Client(tritonclient.http, client.infer)


@contextmanager
def aio(address: str) -> Iterator[Client]:
    """Each request completes before the next is sent. For overlapping requests see ``concurrent_streams``."""
    with asyncio.Runner() as runner:

        async def connect() -> Any:
            return tritonclient.http.aio.InferenceServerClient(address)

        client = runner.run(connect())
        try:
            yield Client(tritonclient.http, lambda *given, **options: runner.run(client.infer(*given, **options)))
        finally:
            runner.run(client.close())


@contextmanager
def grpc(address: str) -> Iterator[Client]:
    with tritonclient.grpc.InferenceServerClient(address) as client:
        yield Client(tritonclient.grpc, client.infer)


def draw(bundle: Bundle, steps: int, batch: int, seed: int) -> Arrays:
    """Inputs ``[T, batch, ...]`` that make the model spike, without noise."""
    rng = np.random.default_rng(seed)
    shapes = {spec.name: spec.shape(batch=batch) for spec in bundle.contract.inputs if spec.role != "noise"}
    return {name: 25 * rng.random((steps, *shape), np.float32) for name, shape in shapes.items()}


def expected(bundle: Bundle, drive: Arrays, sequence: int | str, seed: int | None = None) -> tuple[Arrays, Arrays]:
    """Return the inputs of a stream, including the noise of its name or seed, and the outputs of eager torch."""
    steps, batch = next(iter(drive.values())).shape[:2]
    generator = new_stream({}, batch, sequence, seed).generator
    inputs = drive | draw_noise(generator, bundle.contract, drive, batch, steps)
    trace = record(Eager(bundle).program, inputs, bundle.initial_state(batch))
    assert any(array.any() for array in trace.spikes)
    return inputs, trace.outputs


def check(answer: Any, outputs: Arrays, step: int, where: str) -> None:
    """Check that every output has the same bits as eager torch's."""
    for name, wanted in outputs.items():
        assert_array_equal(answer.as_numpy(name), wanted[step], strict=True, err_msg=f"{where}, step {step}, {name}")


def drive(client: Client) -> None:
    """Run all checks with one client, one after the other."""
    for model in MODELS:
        interleaved_streams(client, model)
        invalid_requests(client, model)
    missing_noise(client)
    batches(client)


def interleaved_streams(client: Client, model: str, steps: int = 12) -> None:
    """Streams interleaved at random, named by integers and strings, give the outputs of eager torch for each alone."""
    bundle, chance = Bundle.open(EXPORT / model), random.Random(model)
    names: list[int | str] = [7, "7", 2**40 + 5, "robot 7/ö"]
    runs = [expected(bundle, draw(bundle, steps, 1, seed), name) for seed, name in enumerate(names)]
    turns = [index for index in range(len(names)) for _ in range(steps)] * 2  # two streams a name
    chance.shuffle(turns)
    taken = dict.fromkeys(range(len(names)), 0)
    for index in turns:
        step, (inputs, outputs) = taken[index] % steps, runs[index]
        given = {name: array[step] for name, array in inputs.items()}
        last = taken[index] == 2 * steps - 1 if index % 2 else step == steps - 1  # some start again without sequence_end
        flags = {"sequence_start": step == 0, "sequence_end": last}
        answer = client.infer(model, given, sequence_id=names[index], **flags)
        check(answer, outputs, step, f"{model}, sequence {names[index]!r}")
        taken[index] += 1


def invalid_requests(client: Client, model: str) -> None:
    """Invalid requests are rejected and leave the stream unchanged."""
    bundle = Bundle.open(EXPORT / model)
    inputs, outputs = expected(bundle, draw(bundle, 8, 1, seed=1), "clumsy")
    given = [{name: array[step] for name, array in inputs.items()} for step in range(8)]
    first = next(iter(inputs))
    wrong = [
        given[0] | {first: given[0][first][..., :-1]},
        given[0] | {first: given[0][first][0]},
        given[0] | {first: given[0][first].astype("float64")},
        given[0] | {"unheard_of": given[0][first]},
        {name: array for name, array in given[0].items() if name != first},
        given[0] | {first: np.full_like(given[0][first], np.nan)},
    ]
    client.refused(model, given[0], sequence_id="clumsy")  # the stream was never started
    client.refused("no_such_model", given[0], "unknown", sequence_id="clumsy", sequence_start=True)
    client.refused(model, wrong[-1], sequence_id="clumsy", sequence_start=True)
    client.refused(model, given[0], sequence_id="clumsy")  # a rejected request starts no stream
    for step in range(8):
        flags = {"sequence_start": step == 0, "sequence_end": step == 7}
        check(client.infer(model, given[step], sequence_id="clumsy", **flags), outputs, step, model)
        if step < 6:
            client.refused(model, wrong[step], sequence_id="clumsy")
    client.refused(model, given[0], sequence_id="clumsy")  # the stream has ended


def missing_noise(client: Client, steps: int = 12) -> None:
    """Missing noise is drawn from the stream's name or seed. A rejected request draws none."""
    for model in ("srm0", "diehl_cook_2015"):
        bundle = Bundle.open(EXPORT / model)
        for name, seed in ((2**40 + 1, None), ("ünseeded", None), ("seeded", 11)):
            given = draw(bundle, steps, 1, seed=3)
            _, outputs = expected(bundle, given, name, seed)
            parameters = {} if seed is None else {"seed": seed}
            for step in range(steps):
                flags = {"sequence_start": step == 0, "sequence_end": step == steps - 1}
                request = {key: array[step] for key, array in given.items()}
                if step:
                    client.refused(model, request | {"unheard_of": np.zeros(1, "float32")}, sequence_id=name)
                answer = client.infer(model, request, sequence_id=name, parameters=parameters, **flags)
                check(answer, outputs, step, f"{model}, sequence {name!r}")


def batches(client: Client, steps: int = 8) -> None:
    """A stream of several rows works with a state shared by all rows, and its batch size cannot change."""
    bundle = Bundle.open(EXPORT / "adaptive-lif")
    inputs, outputs = expected(bundle, draw(bundle, steps, 3, seed=0), "rows")
    for step in range(steps):
        flags = {"sequence_start": step == 0, "sequence_end": step == steps - 1}
        answer = client.infer("adaptive-lif", {"x": inputs["x"][step]}, sequence_id="rows", **flags)
        check(answer, outputs, step, "a batch of 3")
        if step < steps - 1:
            client.refused("adaptive-lif", {"x": inputs["x"][step][:2]}, sequence_id="rows")


def concurrent_streams(address: str, streams: int = 40, steps: int = 25) -> None:
    """Streams of several models whose requests overlap, with invalid ones among them, so that the server forms batches."""

    async def ask(client: Any, model: str, inputs: Arrays, **options: Any) -> Any:
        tensors = [tritonclient.http.InferInput(name, list(array.shape), "FP32") for name, array in inputs.items()]
        for tensor, array in zip(tensors, inputs.values(), strict=True):
            tensor.set_data_from_numpy(array)
        return await client.infer(model, tensors, **options)

    async def stream(client: Any, number: int) -> None:
        model = MODELS[number % len(MODELS)]
        bundle, name = Bundle.open(EXPORT / model), f"many {number}" if number % 2 else 10_000 + number
        given = draw(bundle, steps, 1, seed=number)
        _, outputs = expected(bundle, given, name)
        for step in range(steps):
            inputs = {key: array[step] for key, array in given.items()}
            if step and (step + number) % 5 == 0:
                with pytest.raises(InferenceServerException):
                    await ask(client, model, {key: array * np.nan for key, array in inputs.items()}, sequence_id=name)
            flags = {"sequence_start": step == 0, "sequence_end": step == steps - 1}
            result = await ask(client, model, inputs, sequence_id=name, **flags)
            check(result, outputs, step, f"{model}, sequence {name!r}")

    async def run_all() -> None:
        async with tritonclient.http.aio.InferenceServerClient(address, conn_limit=streams) as client:
            await asyncio.gather(*(stream(client, number) for number in range(streams)))

    asyncio.run(run_all())
