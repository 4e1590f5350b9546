"""Streams over WebSockets, with a third-party client: outputs equal those of eager torch."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from websockets import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.stream import draw_noise, new_stream
from deploy_snn.tensors import Arrays

EXPORT = Path(__file__).parent.parent.parent / "export"
NAMES = ["lif", "srm0", "diehl_cook_2015", "conv_lif"]
STEPS = 30
TYPES = {"FP32": np.float32, "BOOL": np.bool_}


@pytest.fixture(scope="module")
def address(running: Callable) -> Iterator[str]:
    with running([EXPORT / name for name in NAMES]) as served:
        yield f"{served.address}/v2/models"


def drive(name: str, sequence: int | str, batch: int, seed: int | None = None) -> tuple[Arrays, Arrays]:
    """Return inputs without noise, and the outputs of eager torch with the noise that the stream's generator draws."""
    bundle = Bundle.open(EXPORT / name)
    rng = np.random.default_rng(batch)
    given = {
        spec.name: 25 * rng.random((STEPS, *spec.shape(batch=batch)), np.float32)
        for spec in bundle.contract.inputs
        if spec.role != "noise"
    }
    noise = draw_noise(new_stream({}, batch, sequence, seed).generator, bundle.contract, given, batch, STEPS)
    outputs = record(Eager(bundle).program, given | noise, bundle.initial_state(batch)).outputs
    assert all(array.any() for name, array in outputs.items() if name.endswith("s"))
    return given, outputs


def pack(tensors: Arrays) -> bytes:
    return b"".join(array.tobytes() for array in tensors.values())


def unpack(answer: bytes, greeting: dict[str, Any], steps: int) -> Arrays:
    found = {}
    for tensor in greeting["outputs"]:
        dtype = np.dtype(TYPES[tensor["datatype"]])
        size = steps * int(np.prod(tensor["shape"])) * dtype.itemsize
        found[tensor["name"]] = np.frombuffer(answer[:size], dtype).reshape(steps, *tensor["shape"])
        answer = answer[size:]
    assert not answer
    return found


def body(tensors: Arrays, **parameters: object) -> str:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in tensors.items()
    ]
    return json.dumps({"inputs": inputs, "parameters": parameters})


def from_json(answer: dict[str, Any], greeting: dict[str, Any], steps: int) -> Arrays:
    assert all(
        x["shape"] == [steps, *y["shape"]][steps == 1 :]
        for x, y in zip(answer["outputs"], greeting["outputs"], strict=True)
    )
    return {x["name"]: np.array(x["data"]).reshape([steps, *x["shape"]][steps > 1 :]) for x in answer["outputs"]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_all_kinds_of_messages(name: str, batch: int, address: str) -> None:
    """A stream mixes binary and text messages, steps and chunks, two WebSockets and an HTTP request."""
    sequence = f"robot-{batch}"
    given, wanted = drive(name, sequence, batch, seed=5)
    got: list[Arrays] = []

    def part(begin: int, end: int) -> Arrays:
        return {key: array[begin:end] if end > begin + 1 else array[begin] for key, array in given.items()}

    def exchange(socket: Any, greeting: dict[str, Any], begin: int, end: int) -> None:
        if begin % 3:
            socket.send(pack(part(begin, end)))
            got.append(unpack(socket.recv(), greeting, end - begin))
        else:
            socket.send(body(part(begin, end)))
            answer = json.loads(socket.recv())
            assert answer["parameters"] == {"sequence_id": sequence, "sequence_step": end}
            got.append(from_json(answer, greeting, end - begin))

    url = f"ws://{address}/{name}/stream?sequence_id={sequence}"
    with connect(f"{url}&sequence_start=true&batch={batch}&seed=5") as socket:
        greeting = json.loads(socket.recv())
        assert greeting["sequence_step"] == 0
        assert greeting["sequence_id"] == sequence
        assert [(x["name"], x["shape"]) for x in greeting["inputs"]] == [(k, list(x.shape[1:])) for k, x in given.items()]
        for begin, end in ((0, 1), (1, 2), (2, 3), (3, 7), (7, 12)):
            exchange(socket, greeting, begin, end)
    between = httpx.post(f"http://{address}/{name}/infer", content=body(part(12, 14), sequence_id=sequence)).json()
    got.append(from_json(between, greeting, 2))
    with connect(url) as socket:
        greeting = json.loads(socket.recv())
        assert greeting["sequence_step"] == 14
        for begin, end in ((14, 15), (15, 16), (16, STEPS)):
            exchange(socket, greeting, begin, end)
        socket.send(body(part(0, 1), sequence_end=True))
        socket.recv()
        with pytest.raises(ConnectionClosedOK):
            socket.recv()
    for key, array in wanted.items():
        assert_array_equal(np.concatenate([outputs[key] for outputs in got]), array)
    with pytest.raises(InvalidStatus, match="400"), connect(url):
        pass


def test_stream_without_a_name(address: str) -> None:
    """A WebSocket without a sequence_id gets its own stream, which ends with the connection."""
    with connect(f"ws://{address}/srm0/stream") as one, connect(f"ws://{address}/srm0/stream") as other:
        greetings = [json.loads(socket.recv()) for socket in (one, other)]
        names = [greeting["sequence_id"] for greeting in greetings]
        assert names[0] != names[1]
        for socket, name, greeting in zip((one, other), names, greetings, strict=True):
            given, wanted = drive("srm0", name, 1)
            socket.send(pack(given))
            assert_array_equal(unpack(socket.recv(), greeting, STEPS)["s"], wanted["s"])
    state = f"http://{address}/srm0/sequences/{names[0]}/state"
    for _ in range(100):  # until the server has noticed the closed connection
        if httpx.get(state).status_code == 400:
            return
    raise AssertionError(httpx.get(state))


def test_rejected_messages_change_nothing(address: str) -> None:
    """Invalid messages get an error and leave the stream unchanged; invalid handshakes are rejected."""
    given, wanted = drive("diehl_cook_2015", "careful", 1)
    url = f"ws://{address}/diehl_cook_2015/stream?sequence_id=careful"
    step = {key: array[0] for key, array in given.items()}
    with connect(f"{url}&sequence_start=true") as socket:
        greeting = json.loads(socket.recv())
        got = []
        invalid_messages: list[tuple[str | bytes, int, str]] = [
            (pack(step)[:-1], 400, "expected 256 bytes for a step of diehl_cook_2015"),
            (b"", 400, "a message of 0 bytes"),
            (np.full(64, np.nan, np.float32).tobytes(), 400, "must be finite, but is nan"),
            ("{", 400, "not valid JSON"),
            (body(step, sequence_id="another"), 400, "this WebSocket is for sequence 'careful', not 'another'"),
            (body(step, binary_data_output=True), 400, "no binary outputs"),
            (body(step, sequence_step=99), 409, "steps, not 99"),
            (body({"y": step["X.x"]}), 400, "input 'X.x' is missing"),
        ]
        for begin, (invalid_message, status, error) in enumerate(invalid_messages, start=1):
            socket.send(pack({key: array[begin - 1] for key, array in given.items()}))
            got.append(unpack(socket.recv(), greeting, 1))
            socket.send(invalid_message)
            answer = json.loads(socket.recv())
            assert answer["status"] == status
            assert error in answer["error"]
        for key, array in wanted.items():
            assert_array_equal(np.concatenate([outputs[key] for outputs in got]), array[: len(got)])
    invalid_handshakes = [
        (f"{address}/none/stream", 404, "unknown model 'none'"),
        (f"{address}/lif/stream?sequence_id=nobody", 400, "sequence 'nobody' has no stream here"),
        (f"{url.removeprefix('ws://')}&batch=2", 400, "batch=2: the stream of sequence 'careful' has batch size 1"),
        (f"{address}/lif/stream?batch=0", 400, "batch: Input should be greater than or equal to 1"),
        (f"{address}/lif/stream?sequence_id=-1", 400, "sequence_id -1"),
    ]
    for refused, status, error in invalid_handshakes:
        with pytest.raises(InvalidStatus) as caught, connect(f"ws://{refused}"):
            pass
        assert caught.value.response.status_code == status
        assert error in json.loads(caught.value.response.body)["error"]


def test_backpressure(running: Callable) -> None:
    """The server stops reading from a client that does not read its replies, and resumes when the client reads them."""
    bundle = Bundle.open(EXPORT / "lif")
    chunk = 25 * np.random.default_rng(0).random((1200, 1, 8), np.float32)
    wanted = record(Eager(bundle).program, {"x": np.tile(chunk, (3, 1, 1))}, bundle.initial_state(1)).outputs["s"]

    async def steps(socket: ClientConnection) -> int:
        await socket.send(body({"x": chunk[0]}, sequence_step=10**6))
        return int(json.loads(await socket.recv())["error"].split(" has taken ")[1].split(" ")[0])

    async def scenario(url: str) -> None:
        async with (
            connect_async(f"{url}?sequence_id=greedy&sequence_start=true", max_queue=1) as greedy,
            connect_async(f"{url}?sequence_id=other&sequence_start=true") as other,
        ):
            await greedy.recv()
            await other.recv()
            messages = 20_000
            await greedy.send(chunk.tobytes())
            got = [await greedy.recv()]  # the stream exists from here on

            async def send() -> None:
                for _ in range(messages):
                    await greedy.send(chunk.tobytes())

            sending = asyncio.create_task(send())
            async with connect_async(f"{url}?sequence_id=greedy") as observer:
                await observer.recv()
                before, taken = -1, await steps(observer)
                while taken > before:  # until the stream takes no more steps
                    await asyncio.sleep(0.5)
                    before, taken = taken, await steps(observer)
            assert not sending.done()
            assert taken < messages * len(chunk) / 2
            sending.cancel()
            for step in chunk[:20]:
                await other.send(step.tobytes())
                assert len(await other.recv()) == 8
            got += [await greedy.recv() for _ in range(taken // len(chunk) - 1)]
            assert b"".join(got[:3]) == wanted.tobytes()

    with running([EXPORT / "lif"]) as served:
        asyncio.run(scenario(f"ws://{served.address}/v2/models/lif/stream"))


def test_restart_of_the_server(running: Callable, tmp_path: Path) -> None:
    """A server that stops closes WebSockets with code 1012. With a checkpoint, also an unnamed stream continues."""
    options = ("--checkpoint", tmp_path)
    with running([EXPORT / "lif"], *options) as served, connect(f"ws://{served.address}/v2/models/lif/stream") as socket:
        greeting = json.loads(socket.recv())
        name = greeting["sequence_id"]
        given, wanted = drive("lif", name, 1)
        for step in given["x"][:10]:
            socket.send(step.tobytes())
            assert len(socket.recv()) == 8
        served.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
    query = urlencode({"sequence_id": name})
    with (
        running([EXPORT / "lif"], *options) as served,
        connect(f"ws://{served.address}/v2/models/lif/stream?{query}") as socket,
    ):
        assert json.loads(socket.recv())["sequence_step"] == 10
        socket.send(given["x"][10:].tobytes())
        assert_array_equal(unpack(socket.recv(), greeting, STEPS - 10)["s"], wanted["s"][10:])
