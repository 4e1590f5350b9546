"""Streams of many clients over HTTP, with third-party clients: outputs equal those of eager torch."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.protocol import DATATYPES
from deploy_snn.server.stream import draw_noise, new_stream
from deploy_snn.tensors import Arrays

EXPORT = Path(__file__).parent.parent.parent / "export"
NAMES = ["lif", "current-lif", "srm0", "diehl-and-cook", "diehl_cook_2015", "conv_lif", "input"]
TYPES = {dtype: name for name, dtype in DATATYPES.items()}


@pytest.fixture(scope="module")
def address(running: Callable) -> Iterator[str]:
    with running([EXPORT / name for name in NAMES], "--max-wait-ms", 1, "--max-streams", 200, "--model-control") as served:
        platforms = [httpx.get(f"http://{served.address}/v2/models/{name}").json()["platform"] for name in NAMES]
        assert platforms == ["deploy_snn_c"] * len(NAMES)  # the fastest that these bundles have
        yield served.address


def draw(bundle: Bundle, steps: int, batch: int, seed: int, *, noise: bool = True) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.random((steps, *spec.shape(batch=batch)), np.float32) * (1 if spec.role == "noise" else 25)
        for spec in bundle.contract.inputs
        if noise or spec.role != "noise"
    }


def expected(bundle: Bundle, inputs: Arrays) -> Arrays:
    steps, batch = next(iter(inputs.values())).shape[:2]
    assert steps
    trace = record(Eager(bundle).program, inputs, bundle.initial_state(batch))
    assert any(array.any() for array in trace.spikes)
    return trace.outputs


def ask(client: triton.InferenceServerClient, name: str, inputs: Arrays, *, binary: bool, **options: object) -> Arrays:
    """Send one request with Triton's own client."""
    given = []
    for key, array in inputs.items():
        given.append(triton.InferInput(key, list(array.shape), TYPES[array.dtype]))
        given[-1].set_data_from_numpy(array, binary_data=binary)
    bundle = Bundle.open(EXPORT / name)
    wanted = [triton.InferRequestedOutput(spec.name, binary_data=binary) for spec in bundle.contract.outputs]
    result = client.infer(name, given, outputs=wanted, **options)
    return {spec.name: result.as_numpy(spec.name) for spec in bundle.contract.outputs}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("binary", [True, False])
def test_steps_and_chunks_of_two_streams(name: str, binary: bool, address: str) -> None:
    """Two interleaved streams, in steps and chunks, and one request without a stream give the outputs of eager torch."""
    bundle = Bundle.open(EXPORT / name)
    sequences: list[int | str] = [2**63 + 5, f"robot {binary}"]
    inputs = [draw(bundle, 24, batch, seed=batch) for batch in (1, 3)]
    wanted = [expected(bundle, each) for each in inputs]
    cuts = [(0, None), (1, None), (2, 9), (9, 10), (10, None), (11, 24)]  # None: a single step, without a time axis
    packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"} if not binary else {}
    with triton.InferenceServerClient(address) as client:
        for begin, end in cuts:
            for sequence, given, whole in zip(sequences, inputs, wanted, strict=True):
                part = slice(begin, end) if end else begin
                outputs = ask(
                    client,
                    name,
                    {key: array[part] for key, array in given.items()},
                    binary=binary,
                    sequence_id=sequence,
                    sequence_start=begin == 0,
                    sequence_end=end == 24,
                    **packed,
                )
                for key, array in outputs.items():
                    assert_array_equal(array, whole[key][part])
        alone = ask(client, name, inputs[0], binary=binary)
        for key, array in alone.items():
            assert_array_equal(array, wanted[0][key])
        with pytest.raises(triton.InferenceServerException, match="has no stream here: it was not started"):
            ask(client, name, {key: array[0] for key, array in inputs[0].items()}, binary=binary, sequence_id=sequences[0])


def test_missing_noise(address: str) -> None:
    """Missing noise depends only on the stream's name or seed, not on how the steps are split into requests."""
    bundle = Bundle.open(EXPORT / "srm0")
    drive = draw(bundle, 40, 1, seed=0, noise=False)
    for parameters, seed in (({}, None), ({"seed": 11}, 11)):
        stream = new_stream({}, 1, "again", seed)
        wanted = expected(bundle, drive | draw_noise(stream.generator, bundle.contract, drive, 1, 40))["s"]
        for cuts in ([0, 40], [0, 1, 2, 17, 40]):
            with triton.InferenceServerClient(address) as client:
                parts = []
                for begin, end in pairwise(cuts):
                    given = triton.InferInput("x", [end - begin, 1, 8], "FP32")
                    given.set_data_from_numpy(drive["x"][begin:end])
                    result = client.infer(
                        "srm0",
                        [given],
                        sequence_id="again",
                        sequence_start=begin == 0,
                        sequence_end=end == 40,
                        parameters=parameters,
                    )
                    parts.append(result.as_numpy("s"))
            assert_array_equal(np.concatenate(parts), wanted)


def test_metadata_and_model_control(address: str) -> None:
    """Triton's client reads health and metadata, and loads and unloads models."""
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("lif")
        assert client.is_model_ready("lif", "1")
        assert not client.is_model_ready("lif", "2")
        assert client.get_server_metadata()["extensions"] == [
            "binary_tensor_data",
            "sequence",
            "model_repository",
            "model_configuration",
            "statistics",
        ]
        described = client.get_model_metadata("diehl_cook_2015")
        assert {"name": "X.x", "datatype": "FP32", "shape": [-1, 64]} in described["inputs"]
        assert {"name": "exc.s", "datatype": "BOOL", "shape": [-1, 16]} in described["outputs"]
        assert {model["name"]: model["state"] for model in client.get_model_repository_index()} == dict.fromkeys(
            NAMES, "READY"
        )
        client.unload_model("input")
        assert not client.is_model_ready("input")
        with pytest.raises(triton.InferenceServerException, match="unknown model 'input', version 1; loaded"):
            client.get_model_metadata("input")
        client.load_model("input")
        assert client.is_model_ready("input")
        with pytest.raises(triton.InferenceServerException, match="Not Found"):
            client.load_model("../lif")


IDLE_TIMEOUT = 4.0
"""Idle timeout of streams, in seconds."""


MANY = ["lif", "diehl-and-cook", "diehl_cook_2015"]
LONGEST = 60


class Client:
    """A client that starts, steps and ends streams, sends invalid requests and exceeds the idle timeout, at random."""

    def __init__(self, http: httpx.AsyncClient, number: int, expected_runs: list[tuple[Arrays, Arrays]]) -> None:
        self.http, self.number, self.expected_runs = http, number, expected_runs
        self.name, self.chance = MANY[number % 3], random.Random(number)
        self.runs, self.steps, self.idle_timeouts = 0, 0, 0
        self.last_request = 0.0
        """The time of its last request."""

    async def run_until(self, until: float) -> None:
        while time.monotonic() < until:
            await self.run()
            self.runs += 1

    async def run(self) -> None:
        """Step one stream in random chunks, and compare each response with eager torch."""
        inputs, wanted = self.chance.choice(self.expected_runs)
        begin, length = 0, self.chance.randrange(10, LONGEST)
        while begin < length:
            if self.chance.random() < 0.1:  # an invalid request, which must change nothing
                assert (await self.post({key: array[0, :, :-1] for key, array in inputs.items()})).status_code == 400
            end = min(length, begin + self.chance.choice([1, 1, 1, 2, 7]))
            part = slice(begin, end) if end - begin > 1 else begin
            flags = {"sequence_start": begin == 0, "sequence_end": end == length and self.chance.random() < 0.5}
            before, self.last_request = self.last_request, time.monotonic()
            response = await self.post({key: array[part] for key, array in inputs.items()}, **flags)
            if begin and response.status_code == 400 and time.monotonic() - before > IDLE_TIMEOUT:
                return  # on a slow machine the stream has exceeded the idle timeout
            assert response.status_code == 200, response.text
            for output in response.json()["outputs"]:
                assert_array_equal(np.array(output["data"]).reshape(output["shape"]), wanted[output["name"]][part])
            self.steps += end - begin
            begin = end
            if begin < length and self.chance.random() < 0.01:
                await asyncio.sleep(IDLE_TIMEOUT * 1.5)
                response = await self.post({key: array[begin] for key, array in inputs.items()})
                assert response.status_code == 400
                assert "or it was idle for" in response.json()["error"]
                self.idle_timeouts += 1
                return

    async def post(self, inputs: Arrays, **flags: bool) -> httpx.Response:
        tensors = [
            {"name": key, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
            for key, array in inputs.items()
        ]
        body = {"inputs": tensors, "parameters": {"sequence_id": f"many {self.number}", **flags}}
        return await self.http.post(f"/v2/models/{self.name}/infer", json=body)


def test_sixty_four_streams(running: Callable) -> None:
    """64 clients step streams of three models at the same time, for 10 s or the environment's DEPLOY_SNN_SOAK."""
    seconds = float(os.environ.get("DEPLOY_SNN_SOAK", "10"))

    async def run_all(address: str) -> list[Client]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60, limits=limits) as http:
            clients = [Client(http, number, expected_runs[MANY[number % 3]]) for number in range(64)]
            until = time.monotonic() + seconds
            await asyncio.gather(*(client.run_until(until) for client in clients))
            return clients

    expected_runs = {}
    for name in MANY:
        bundle = Bundle.open(EXPORT / name)
        runs = [draw(bundle, LONGEST, 1, seed) for seed in range(8)]
        expected_runs[name] = [
            (inputs, record(Eager(bundle).program, inputs, bundle.initial_state(1)).outputs) for inputs in runs
        ]
    with running([EXPORT / name for name in MANY], "--idle-timeout", IDLE_TIMEOUT, "--max-streams", 30) as served:
        clients = asyncio.run(run_all(served.address))
    assert min(client.steps for client in clients) > 0
    assert sum(client.idle_timeouts for client in clients) > 0
    print(f"{sum(client.steps for client in clients)} steps, {sum(client.runs for client in clients)} runs")  # noqa: T201
