"""What a server has acknowledged outlives it: after kill -9 every stream goes on from there, or is refused."""

import asyncio
import random
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.queue import InferResult
from deploy_snn.server.stream import new_stream, unpack_stream
from deploy_snn.tensors import pack_tensors, read_tensors

EXPORT = Path(__file__).parent.parent.parent / "export"
NAMES = ("current-lif", "srm0")


def test_kill_9_in_the_middle_of_load(running: Callable, client_of: Callable, tmp_path: Path) -> None:
    clients = [client_of(number, NAMES[number % 2]) for number in range(1, 13)]
    bundles, options = [EXPORT / name for name in NAMES], ("--checkpoint", tmp_path / "kept")
    lost = went_on = 0
    for _ in range(3):
        with running(bundles, *options) as served:

            def talk(client: Any, address: str) -> None:
                chance = random.Random(client.number + client.known)
                with httpx.Client(base_url=f"http://{address}", timeout=60) as http:
                    try:
                        while client.known < client.STEPS - 20:
                            assert client.send(http, chance.choice([1, 1, 3])).status_code == 200
                    except httpx.TransportError:
                        return

            # First, where each stream stands after the last server's end.
            with httpx.Client(base_url=f"http://{served.address}", timeout=60) as http:
                for client in clients:
                    before = client.known
                    response = client.send(http, 1)
                    if response.status_code == 409:  # the step that was not acknowledged had been taken
                        lost += 1
                        told = response.json()["error"]
                        client.known = int(told.split(" has taken ")[1].split(" ")[0])
                        assert before < client.known <= before + 3
                        assert client.send(http, 1).status_code == 200
                    else:
                        assert response.status_code == 200, response.text
                        went_on += before > 0
            threads = [threading.Thread(target=talk, args=(client, served.address)) for client in clients]
            for thread in threads:
                thread.start()
            time.sleep(1.0)
            served.process.kill()
            for thread in threads:
                thread.join()
    assert went_on + lost == 2 * len(clients)
    assert went_on


def test_ends_and_idle_streams_are_forgotten_on_disk_too(running: Callable, tmp_path: Path) -> None:
    options = ("--checkpoint", tmp_path, "--idle-timeout", 1)
    with running([EXPORT / "srm0"], *options) as served, httpx.Client(base_url=f"http://{served.address}") as http:
        for number, parameters in ((1, {}), (3, {}), (7, {}), (3, {"sequence_start": False, "sequence_end": True})):
            x = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}
            body = {"inputs": [x], "parameters": {"sequence_id": number, "sequence_start": True, **parameters}}
            assert http.post("/v2/models/srm0/infer", json=body).status_code == 200
        assert kept(tmp_path) == {1, 7}
        time.sleep(2)
    assert kept(tmp_path) == set()


def kept(folder: Path) -> set[int]:
    """What a copy of the checkpoint holds: the server keeps the file to itself."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.glob("srm0.sqlite*"):
        shutil.copy(path, copy)
    with sqlite3.connect(copy / "srm0.sqlite") as database:
        return {int(row[0]) for row in database.execute("SELECT sequence FROM streams")}


def test_files_that_cannot_be_gone_on_from(running: Callable, refused: Callable[..., str], tmp_path: Path) -> None:
    kept = ("--checkpoint", tmp_path / "kept")
    with running([EXPORT / "lif"], *kept):
        assert "cannot be used as a checkpoint: database is locked" in refused(EXPORT / "lif", *kept)
    other = tmp_path / "lif"
    shutil.copytree(EXPORT / "current-lif", other)
    assert "has the streams of another export of lif" in refused(other, *kept)
    (tmp_path / "kept" / "lif.sqlite").write_bytes(b"no database" * 1000)
    assert "file is not a database" in refused(EXPORT / "lif", *kept)
    assert "cannot be used as a checkpoint" in refused(EXPORT / "lif", "--checkpoint", EXPORT / "README.md")


@pytest.mark.parametrize(
    "damage", ["stream = x'00'", "stream = 'text'", "sequence = 'x'", "sequence = '[1]'", "sequence = '0'"]
)
def test_a_stream_that_cannot_be_read_is_put_aside(damage: str, tmp_path: Path) -> None:
    """The others go on, also after another start; what was put aside is kept."""
    bundle = Bundle.open(EXPORT / "lif")
    checkpoint = Checkpoint(tmp_path, "lif", bundle)
    checkpoint.write({name: new_stream(bundle.initial_state(2), 2, name, None) for name in ("a", "b")}, {})
    assert checkpoint.load()["a"].batch == 2
    checkpoint._database.execute(f"UPDATE streams SET {damage} WHERE sequence = '\"a\"'")
    for _ in range(2):
        assert checkpoint.load().keys() == {"b"}
    assert checkpoint._database.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)
    checkpoint.close()


def test_what_could_not_be_loaded_is_refused(tmp_path: Path) -> None:
    """Inputs that drive a state to infinity, and a stream with as many steps as there can be, on disk as in memory."""

    def step(name: str, value: float, *, start: bool, steps: int) -> InferRequest:
        return InferRequest("", {"x": np.full((steps, 1, 8), value, np.float32)}, {}, False, name, start, False, None)

    bundle = Bundle.open(EXPORT / "lif")

    async def serve() -> None:
        model = Model(bundle, "onnxruntime-cpu", Limits(max_wait=0.02), Checkpoint(tmp_path, "lif", bundle))
        model.open()
        await model.infer(step("hot", 1.0, start=True, steps=3))
        answers = await asyncio.gather(
            model.infer(step("hot", -3e38, start=False, steps=5)),
            model.infer(step("cold", 1.0, start=True, steps=5)),
            model.infer(step("new", -3e38, start=True, steps=5)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [InvalidInput, InferResult, InvalidInput]
        assert "drive state 'v' to infinity or NaN; the stream is unchanged" in str(answers[0])
        packed = pack_tensors(bundle.initial_state(1), {"steps": str(2**63 - 1)})
        with pytest.raises(InvalidInput, match="impossible number of steps"):
            unpack_stream(packed, bundle.contract, "old", "the body")
        packed = pack_tensors(bundle.initial_state(1), {"steps": str(2**53 - 1)})
        await model.import_stream("old", unpack_stream(packed, bundle.contract, "old", "the body"))
        await model.infer(step("old", 1.0, start=False, steps=1))
        with pytest.raises(InvalidInput, match="would take more than"):
            await model.infer(step("old", 1.0, start=False, steps=1))
        await model.close()

    asyncio.run(serve())
    checkpoint = Checkpoint(tmp_path, "lif", bundle)
    assert {name: stream.steps for name, stream in checkpoint.load().items()} == {"hot": 3, "cold": 5, "old": 2**53}
    checkpoint.close()


class Stored:
    """A model with a checkpoint, whose streams are idle after 0.4 s."""

    def __init__(self, folder: Path) -> None:
        self.bundle = Bundle.open(EXPORT / "lif")
        limits = Limits(idle_timeout=0.4)
        self.model = Model(self.bundle, "onnxruntime-cpu", limits, Checkpoint(folder, "lif", self.bundle))
        self.model.open()

    async def step(self, name: str, *, start: bool = False) -> int:
        asked = InferRequest("", {"x": np.ones((1, 8), np.float32)}, {}, False, name, start, False, None)
        return (await self.model.infer(asked)).steps

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(200):
            if condition():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("it did not happen")


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No file may grow beyond the largest in a folder, in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing is acknowledged that is not on disk, nothing is lost in memory; and once there is room, all goes on."""

    async def scenario() -> None:
        stored = Stored(tmp_path)
        model = stored.model
        assert [await stored.step("a", start=True), await stored.step("a")] == [1, 2]
        moved = await model.stream("a")
        with full_disk(tmp_path):
            for refused in (stored.step("a"), stored.step("b", start=True), model.import_stream("c", moved)):
                with pytest.raises(StoreFailed, match="cannot be written"):
                    await refused
            assert model.streams == {"a": moved}
            assert "cannot be written" in str(model.problem())
            await asyncio.sleep(0.8)  # the sweep fails, too
            assert model.streams.keys() == {"a"}
        await stored.wait_until(lambda: model.problem() is None)
        await stored.wait_until(lambda: not model.streams)
        await model.import_stream("c", moved)
        assert await stored.step("c") == 3
        await model.close()

    asyncio.run(scenario())
    checkpoint = Checkpoint(tmp_path, "lif", Bundle.open(EXPORT / "lif"))
    assert checkpoint.load()["c"].steps == 3
    checkpoint.close()


@pytest.mark.parametrize("deleted", ["lif.sqlite", "lif.sqlite-wal"])
def test_files_that_are_deleted_under_a_running_server(deleted: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        stored = Stored(tmp_path)
        assert await stored.step("a", start=True) == 1
        (tmp_path / deleted).unlink()
        with pytest.raises(StoreFailed):
            await stored.step("a")
        assert stored.model.problem()
        await stored.model.close()

    asyncio.run(scenario())


def test_a_stream_moves_to_another_host(running: Callable, client_of: Callable, tmp_path: Path) -> None:
    """Its state is downloaded, and given to a new stream elsewhere; its noise goes on too, and so does the command line."""
    client = client_of(1, "srm0")  # srm0, which takes noise
    with running([EXPORT / "srm0"]) as served, httpx.Client(base_url=f"http://{served.address}") as http:
        for _ in range(5):
            assert client.send(http, 3).status_code == 200
        downloaded = http.get("/v2/models/srm0/sequences/1/state")
        assert downloaded.headers["sequence-step"] == "15"
        assert http.get('/v2/models/srm0/sequences/"1"/state').status_code == 400, "a string is another name"
    (tmp_path / "state.safetensors").write_bytes(downloaded.content)
    trace = read_tensors(tmp_path / "state.safetensors")
    assert {spec.name for spec in Bundle.open(EXPORT / "srm0").contract.states} == trace.keys()
    options = ("--checkpoint", tmp_path / "kept")
    url = "/v2/models/srm0/sequences/1/state"
    with running([EXPORT / "srm0"], *options) as served, httpx.Client(base_url=f"http://{served.address}") as http:
        assert http.put(url, content=downloaded.content).status_code == 201
        again = http.put(url, content=downloaded.content)
        assert (again.status_code, "already has a stream here, at step 15" in again.json()["error"]) == (409, True)
        for content, told in (
            (b"", "the body cannot be read as .safetensors"),
            (pack_tensors({"v": np.zeros((1, 8), np.float32)}), "state 'refrac_count' is missing"),
            (pack_tensors(trace | {"v": np.full((1, 8), np.nan, np.float32)}), "state 'v' must be finite, but is nan"),
            (pack_tensors(trace, {"steps": "many"}), "the body is not a valid stream state"),
            (pack_tensors(trace, {"steps": "-1"}), "the body is not a valid stream state"),
            (pack_tensors(trace, {"steps": "9" * 4300}), "the body is not a valid stream state"),
            (pack_tensors(trace, {"generator": "[]"}), "the body is not a valid stream state"),
        ):
            refused = http.put("/v2/models/srm0/sequences/robot 2/state", content=content)
            assert (refused.status_code, told in refused.json()["error"]) == (400, True), refused.text
        served.process.kill()  # what was taken in is kept as well
        served.process.wait()
    with running([EXPORT / "srm0"], *options) as served, httpx.Client(base_url=f"http://{served.address}") as http:
        while client.known < client.STEPS:
            assert client.send(http, 40).status_code == 200
        # A state without notes, such as a C++ host's, is a beginning too.
        assert http.put("/v2/models/srm0/sequences/robot 2/state", content=pack_tensors(trace)).status_code == 201
