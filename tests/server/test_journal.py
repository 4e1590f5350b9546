"""Streams that learn, whose weights are stored every K steps: the acknowledged steps in between are replayed, bit-equal."""

import asyncio
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from deploy_snn import export
from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.learning import MSTDP
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.runtimes import find_runtime
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.journal import Journal
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.stream import Stream, copy_generator, draw_noise, new_stream, pack_stream
from deploy_snn.tensors import Arrays, pack_tensors, unpack_tensors

from ..redis_process import Redis  # noqa: TID252

ROOT = Path(__file__).parent.parent.parent
EVERY = 20
ONNX, COMPILED = "onnxruntime-cpu", "c"


@pytest.fixture(scope="module")
def plastic(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that learns and takes noise. Its state has 18 kB; an entry of a journal less than 1 kB."""
    path, options = tmp_path_factory.mktemp("journal") / "learner", {"n": 40, "n_input": 100, "plastic": True}
    return export_model(str(ROOT / "models" / "diehl_cook_2015.py"), options, path, formats=["onnx", "c"], golden_steps=0)


class Alone:
    """The lone run of a stream, in one runtime after the other."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self.bundle, self.name = bundle, name
        self.generator = new_stream({}, 1, name, None).generator
        self.state, self.steps = bundle.initial_state(1), 0
        self.runtimes = {runtime: find_runtime(runtime, bundle)(bundle) for runtime in (ONNX, COMPILED)}

    def take(self, inputs: Arrays, runtime: str = ONNX) -> None:
        own, steps = self.runtimes[runtime], len(inputs["X.x"]) if inputs["X.x"].ndim == 3 else None
        noise = draw_noise(self.generator, self.bundle.contract, inputs, 1, steps or 1)
        own.start(self.state)
        if steps is None:
            own.step(inputs | {name: array[0] for name, array in noise.items()})
        else:
            own.run(inputs | noise)
        self.state, self.steps = own.state(), self.steps + (steps or 1)

    def check(self, state: Arrays, steps: int) -> None:
        assert steps == self.steps
        for name, value in self.state.items():
            assert_array_equal(state[name], value, f"{name} after {steps} steps")


class Given:
    """The requests of a client: steps, a chunk at times, and at times with noise of its own."""

    def __init__(self, seed: int = 1) -> None:
        self.rng, self.number = np.random.default_rng(seed), 0

    def next(self) -> Arrays:
        self.number += 1
        time = (3,) if self.number % 7 == 3 else ()
        inputs = {"X.x": (self.rng.random((*time, 1, 100)) < 0.4).astype(np.float32)}
        return inputs | ({"exc.noise": self.rng.random((*time, 1, 40), np.float32)} if self.number % 5 == 0 else {})


class Learner:
    """A model with a checkpoint or a Redis, as a server has it, in this process."""

    def __init__(self, bundle: Bundle, place: Path | Redis, runtime: str = ONNX, every: int = EVERY) -> None:
        journal = Journal(bundle, runtime, every)
        if isinstance(place, Path):
            self.store: Any = Checkpoint(place, "learner", bundle, journal)
        else:
            from deploy_snn.server.redis_store import RedisStore

            self.store = RedisStore(place.url, 600, "learner", bundle, journal)
        self.model, self.runtime = Model(bundle, runtime, Limits(), self.store), runtime
        self.model.open()

    async def end(self, *, killed: bool = True) -> None:
        """End the server, by default without what it does to end in an ordinary way."""
        if killed:
            self.store.settle = lambda _: None
        await self.model.close()

    async def step(self, alone: Alone, inputs: Arrays, *, start: bool = False) -> None:
        """Step a stream, and its lone run once it is acknowledged."""
        request = InferRequest("", inputs, {}, False, alone.name, start or alone.steps == 0, False, None, None)
        self.model._stepper._piece = 2  # a chunk of three is stepped in two pieces, and replayed in one
        steps = (await self.model.infer(request)).steps
        alone.take(inputs, self.runtime)
        assert steps == alone.steps


@contextmanager
def copy_of(folder: Path, cut: int | None = None) -> Iterator[Path]:
    """A copy of a checkpoint as a kill would leave it, without the last bytes of its write-ahead log from ``cut`` on."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    if cut is not None:
        with (copy / "learner.sqlite-wal").open("r+b") as log:
            log.truncate(cut)
    yield copy
    shutil.rmtree(copy)


def load(bundle: Bundle, folder: Path) -> dict[Any, Stream]:
    checkpoint = Checkpoint(folder, "learner", bundle, Journal(bundle, ONNX, EVERY))
    try:
        return checkpoint.load()
    finally:
        checkpoint.close()


@pytest.mark.parametrize("store", ["checkpoint", "redis"])
def test_kill_9_between_snapshots(
    store: str, plastic: Bundle, running: Callable, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In the middle of load; Redis is killed too. The weights equal the lone run's to the bit, and learning goes on."""
    redis: Redis | None = request.getfixturevalue("redis") if store == "redis" else None
    options = ("--store", redis.url) if redis else ("--checkpoint", tmp_path / "kept")
    given, alone, lost = Given(), Alone(plastic, "a"), None
    serving = ([plastic.path], *options, "--weights-every", EVERY, "--runtime", ONNX)
    for number in range(3):
        with running(*serving) as served, httpx.Client(base_url=f"http://{served.address}", timeout=60) as http:
            if number:
                answer = http.get("/v2/models/learner/sequences/a/state")
                if int(answer.headers["sequence-step"]) > alone.steps:  # stepped and not acknowledged
                    alone.take(lost)
                alone.check(unpack_tensors(answer.content, ""), int(answer.headers["sequence-step"]))
            if number == 2:
                break
            killer = threading.Timer(0.05 + 0.02 * number, served.process.kill)
            enough = alone.steps + EVERY + 5
            with suppress(httpx.TransportError):
                while True:
                    if alone.steps > enough and killer.ident is None:
                        killer.start()
                    lost = given.next()
                    send(http, alone, lost)
            killer.join()
        if redis:
            redis.kill()
            redis.start()
    learnt = np.abs(alone.state["X_to_exc.w"] - plastic.initial_state(1)["X_to_exc.w"]).max()
    assert learnt > 0.01


def send(http: httpx.Client, alone: Alone, inputs: Arrays) -> None:
    """Step a stream, and its lone run once it is acknowledged."""
    tensors = [
        {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in inputs.items()
    ]
    body = {"inputs": tensors, "parameters": {"sequence_id": alone.name, "sequence_start": alone.steps == 0}}
    answer = http.post("/v2/models/learner/infer", json=body)
    assert answer.status_code == 200, answer.text
    alone.take(inputs)
    assert answer.json()["parameters"]["sequence_step"] == alone.steps


def bytes_written(place: Path | Redis) -> int:
    """By this process to files, or by a Redis to its log."""
    if isinstance(place, Path):
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("wchar")).split()[1])
    import redis

    with redis.Redis(port=place.port) as client:
        return int(client.info("persistence")["aof_current_size"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc/self/io on this system")
@pytest.mark.parametrize("store", ["checkpoint", "redis"])
def test_weights_are_written_every_so_many_steps(
    store: str, plastic: Bundle, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Snapshots are exactly K steps apart, and what a step writes falls accordingly."""
    place = request.getfixturevalue("redis") if store == "redis" else tmp_path / "kept"
    state = sum(array.nbytes for array in plastic.initial_state(1).values())

    async def cost(every: int, steps: int) -> tuple[float, list[int]]:
        learner = Learner(plastic, place, every=every)
        alone, given, snapshots, written = Alone(plastic, f"stream {every}"), Given(), [], 0
        for _ in range(steps):
            inputs, before = given.next(), bytes_written(place)
            one = {name: array[0] if array.ndim == 3 else array for name, array in inputs.items()}
            await learner.step(alone, one)
            written += bytes_written(place) - before
            first = first_step(learner.store, alone.name)
            if not snapshots or first != snapshots[-1]:
                snapshots.append(first)
        await learner.model.close()
        return written / steps, snapshots

    always, _ = asyncio.run(cost(1, 20))
    seldom, snapshots = asyncio.run(cost(EVERY, 3 * EVERY + 5))
    assert snapshots == [1, 1 + EVERY, 1 + 2 * EVERY, 1 + 3 * EVERY]
    assert always > state
    # An entry has less than 1 kB. SQLite writes whole pages of 4 kB, of which it touches a few.
    assert seldom < state / EVERY + (1500 if store == "redis" else 4 * 4200), (always, seldom)


def first_step(store: Any, name: str) -> int | None:
    """The step of the snapshot that a store has."""
    if isinstance(store, Checkpoint):
        query = f"SELECT min(step), min(first), max(first) FROM journal WHERE sequence = '\"{name}\"'"
        row = store._database.execute(query).fetchone()
        assert row[0] == row[1] == row[2]
        return row[0]
    first = store._redis.hget(store._key(name), "first")
    return None if first is None else int(first)


def test_a_torn_tail_is_a_step_that_was_not_acknowledged(plastic: Bundle, tmp_path: Path) -> None:
    """Wherever the file ends: the stream is as of an earlier step, and after the last acknowledged write as of the last."""
    log, ends, states = tmp_path / "kept" / "learner.sqlite-wal", [], []

    async def scenario() -> None:
        learner, alone, given = Learner(plastic, tmp_path / "kept"), Alone(plastic, "a"), Given()
        for _ in range(2 * EVERY):
            await learner.step(alone, given.next())
            ends.append(log.stat().st_size)
            states.append((alone.steps, alone.state))
        for place in range(EVERY, 2 * EVERY):
            begin, end = ends[place - 1], ends[place]
            for cut in (begin, begin + 1, (begin + end) // 2, end - 1, end):
                with copy_of(tmp_path / "kept", cut) as copy:
                    stream = load(plastic, copy)["a"]
                steps, state = states[place if cut == end else place - 1]
                assert stream.steps == steps
                for name, value in state.items():
                    assert_array_equal(stream.state[name], value)
        await learner.model.close()

    asyncio.run(scenario())
    assert ends == sorted(set(ends)), "the log has begun again: shorten this test"


def test_a_damaged_journal(plastic: Bundle, tmp_path: Path) -> None:
    """It is put aside with all that there is of it, and the reason; the other streams go on."""
    folder = tmp_path / "kept"

    async def fill() -> None:
        learner, given = Learner(plastic, folder), Given()
        for name in "ab":
            alone = Alone(plastic, name)
            for _ in range(10):
                await learner.step(alone, given.next())
        for what, reason in DAMAGES.items():
            with copy_of(folder) as copy:
                with sqlite3.connect(copy / "learner.sqlite") as database:
                    database.create_function(
                        "flipped", 1, lambda entry: entry[:300] + bytes([entry[300] ^ 4]) + entry[301:]
                    )
                    database.create_function("changed", 1, lambda entry: with_note(entry, "state", "01234567"))
                    count = database.execute("SELECT count(*) FROM journal WHERE sequence = '\"a\"'").fetchone()[0]
                    database.execute(f"{what} {'AND' if 'WHERE' in what else 'WHERE'} sequence = '\"a\"'")
                database.close()
                for _ in range(2):
                    assert load(plastic, copy).keys() == {"b"}, what
                with sqlite3.connect(copy / "learner.sqlite") as database:
                    rows = database.execute("SELECT sequence, reason FROM quarantine").fetchall()
                    left = database.execute("SELECT count(*) FROM journal WHERE sequence = '\"a\"'").fetchone()[0]
                database.close()
                assert {row[0] for row in rows} == {'"a"'}
                assert reason in rows[0][1], what
                assert (len(rows), left) == (count - ("DELETE" in what), 0), "the snapshot, and each entry that is left"
        await learner.model.close()

    asyncio.run(fill())


DAMAGES = {
    "UPDATE journal SET entry = flipped(entry) WHERE step = 9": "for step 9 of its journal is damaged",
    "UPDATE journal SET entry = substr(entry, 1, length(entry) - 1) WHERE step = 8": "for step 8 of its journal is damaged",
    "UPDATE journal SET entry = 'text' WHERE step = 8": "for step 8 of its journal is damaged",
    "DELETE FROM journal WHERE step = 5": "for step 6 of its journal does not follow step 2: an entry is missing",
    "UPDATE journal SET entry = changed(entry) WHERE step = 10": "for step 10 of its journal leads to another state",
    "UPDATE journal SET runtime = 'none'": "unknown runtime 'none'",
}


def with_note(entry: bytes, name: str, value: str) -> bytes:
    """An intact entry with another note."""
    content = pack_tensors(unpack_tensors(entry[4:], ""), {name: value})
    return zlib.crc32(content).to_bytes(4, "little") + content


def test_another_runtime(plastic: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime that stepped a journal replays it. Without that, the server does not start, and nothing is lost."""
    alone, given = Alone(plastic, "a"), Given()

    async def go_on(runtime: str, requests: int) -> None:
        learner = Learner(plastic, tmp_path / "kept", runtime)
        if alone.steps:
            stream = await learner.model.stream("a")
            alone.check(stream.state, stream.steps)
        for _ in range(requests):
            await learner.step(alone, given.next())
        await learner.end()

    for runtime, requests in ((ONNX, 7), (COMPILED, 5), (ONNX, 9), (COMPILED, 0)):
        asyncio.run(go_on(runtime, requests))
    with monkeypatch.context() as patch:
        patch.setattr("deploy_snn.runtimes.find.unavailable_reason", lambda *_: "no such package")
        with pytest.raises(
            Unavailable, match='stream "a" was stepped by runtime onnxruntime-cpu, and only that can replay'
        ):
            load(plastic, tmp_path / "kept")
    asyncio.run(go_on(ONNX, 3))


def test_formats_of_other_versions(plastic: Bundle, tmp_path: Path) -> None:
    """A file without journals is gone on from; earlier versions refuse one with journals, and we refuse later ones."""
    alone, given = Alone(plastic, "a"), Given()

    async def go_on(every: int, requests: int = 8, *, killed: bool = False) -> None:
        learner = Learner(plastic, tmp_path, every=every)
        for _ in range(requests):
            await learner.step(alone, given.next())
        await learner.end(killed=killed)

    def ask(query: str) -> Any:
        with sqlite3.connect(tmp_path / "learner.sqlite") as database:
            answer = database.execute(query).fetchone()
        database.close()
        return answer and answer[0]

    asyncio.run(go_on(1))
    assert ask("SELECT files FROM bundle").startswith("{"), "as in earlier versions"
    assert ask("SELECT count(*) FROM journal") == 0
    ask("DROP TABLE journal")
    asyncio.run(go_on(EVERY, killed=True))
    assert ask("SELECT files FROM bundle").startswith("2 {")
    assert ask("SELECT count(*) FROM journal WHERE entry IS NOT NULL") == 7
    asyncio.run(go_on(EVERY, 3))
    assert ask("SELECT count(*) FROM journal WHERE entry IS NOT NULL") == 0, "a server that ends stores all weights"
    asyncio.run(go_on(1))
    assert ask("SELECT count(*) FROM journal") == 0
    alone.check((stream := load(plastic, tmp_path)["a"]).state, stream.steps)
    ask("UPDATE bundle SET files = '3' || substr(files, 2)")
    with pytest.raises(InvalidInput, match="has format 3, and this version reads up to 2: upgrade"):
        load(plastic, tmp_path)


def test_a_reward_is_in_the_journal(tmp_path: Path) -> None:
    """An input as any other, without which the weights would not change; here for two rows, which share their weights."""
    torch.manual_seed(0)
    network = Network()
    network.add_layer(Input(n=60), "X")
    network.add_layer(LIFNodes(n=60, refrac=0), "Y")
    network.add_connection(Dense(1.0 + torch.rand(60, 60), rule=MSTDP(nu=0.05, wmin=0.0, wmax=4.0)), "X", "Y")
    bundle = export(network, tmp_path / "rewarded", formats=["onnx"], golden_steps=0)
    rng, folder = np.random.default_rng(0), tmp_path / "kept"

    async def scenario() -> None:
        learner, alone = Learner(bundle, folder), bundle.session(ONNX, batch=2)
        for step in range(EVERY - 1):
            x = (rng.random((2, 60)) < 0.3).astype(np.float32)
            inputs = {"X.x": x, "reward": rng.normal(size=2).astype(np.float32)}
            await learner.model.infer(InferRequest("", inputs, {}, False, "a", step == 0, False, None, None))
            alone.step(inputs)
        with copy_of(folder) as copy:
            found = load(bundle, copy)["a"]
        assert first_step(learner.store, "a") == 1, "all but the first step are in the journal"
        await learner.end()
        assert np.abs(alone.state["X_to_Y.w"] - bundle.initial_state(2)["X_to_Y.w"]).max() > 0.01
        for name, value in alone.state.items():
            assert_array_equal(found.state[name], value, name)

    asyncio.run(scenario())


def test_streams_that_begin_anew_or_come_from_elsewhere(plastic: Bundle, tmp_path: Path) -> None:
    """Their journals have nothing of the streams that had their names."""

    async def scenario() -> None:
        learner, given = Learner(plastic, tmp_path / "kept"), Given()
        first, again, over = Alone(plastic, "a"), Alone(plastic, "a"), Alone(plastic, "c")
        for _ in range(5):
            await learner.step(first, given.next())
        moved = await learner.model.stream("a")
        for _ in range(4):
            await learner.step(again, given.next())
        await learner.model.import_stream("b", moved)
        await learner.model.import_stream("c", replace(moved, steps=0))
        first.name = "b"
        for _ in range(4):
            await learner.step(first, given.next())
            await learner.step(over, given.next())  # begun anew
        with copy_of(tmp_path / "kept") as copy:
            found = load(plastic, copy)
        again.check(found["a"].state, found["a"].steps)
        first.check(found["b"].state, found["b"].steps)
        over.check(found["c"].state, found["c"].steps)
        await learner.model.drop_streams(["a", "b", "c"])
        with copy_of(tmp_path / "kept") as copy:
            assert not load(plastic, copy)
        assert learner.store._database.execute("SELECT count(*) FROM journal").fetchone() == (0,)
        await learner.model.close()

    asyncio.run(scenario())


def test_another_server_takes_over(plastic: Bundle, redis: Redis) -> None:
    """At any step, and with another runtime; it replays the journal, and the old server's copy is out of date then."""

    async def scenario() -> None:
        servers = [Learner(plastic, redis, runtime) for runtime in (ONNX, ONNX, COMPILED)]
        alone, given, rng = Alone(plastic, "a"), Given(), np.random.default_rng(3)
        for _ in range(25):
            server = servers[rng.integers(3)]
            for _ in range(rng.integers(1, 8)):
                await server.step(alone, given.next())
        stream = await servers[0].model.stream("a")
        alone.check(stream.state, stream.steps)
        for server in servers:
            await server.end(killed=False)
        assert first_step(servers[0].store, "a") == alone.steps, "all weights are stored"

    asyncio.run(scenario())


def test_redis_streams_from_elsewhere_and_of_servers_without_a_journal(plastic: Bundle, redis: Redis) -> None:
    """They are stored whole, and nothing of that is left once there is a snapshot; and the other way round."""

    async def scenario() -> None:
        one, whole = Learner(plastic, redis), Learner(plastic, redis, every=1)
        alone, given = Alone(plastic, "a"), Given()
        for _ in range(3):
            await one.step(alone, given.next())
        moved = await one.model.stream("a")
        await one.model.drop_streams(["a"])
        alone.name = "b"
        await one.model.import_stream("b", moved)
        for server in (one, whole, one, one, whole, whole, one):
            await server.step(alone, given.next())
            for reader in (one, whole):
                stream = await reader.model.stream("b")
                alone.check(stream.state, stream.steps)
        await one.end()
        await whole.end()

    asyncio.run(scenario())


def test_an_answer_of_redis_is_lost(plastic: Bundle, redis: Redis) -> None:
    """The journal has a request that the server does not know to be there, and the client sends another in its place."""

    async def scenario() -> None:
        one, two = (Learner(plastic, redis) for _ in range(2))
        alone, given = Alone(plastic, "a"), Given()
        for place in range(2 * EVERY):  # so that the answer is that to an entry, and that to a snapshot
            await one.step(alone, given.next())
            write = one.store.write

            def lost(*arguments: Any, write: Any = write) -> Any:
                write(*arguments)
                raise StoreFailed("the answer was lost")

            one.store.write = lost
            chunk = np.ones((2 + place % 2, 1, 100), np.float32)
            with pytest.raises(StoreFailed):
                await one.model.infer(InferRequest("", {"X.x": chunk}, {}, False, "a", False, False, None, None))
            one.store.write = write
            await one.step(alone, given.next())
            stream = await two.model.stream("a")
            alone.check(stream.state, stream.steps)
        await one.model.close()
        await two.model.close()

    asyncio.run(scenario())


def test_a_torn_log_of_redis(plastic: Bundle, redis: Redis) -> None:
    """Its last write alone is lost, which was not acknowledged then: an entry in one case, a snapshot in the other."""

    async def scenario() -> None:
        alone, given = Alone(plastic, "a"), Given()
        for requests, snapshot in ((10, 1), (8, 21)):
            learner = Learner(plastic, redis)
            for _ in range(requests):
                before = alone.steps, alone.state, copy_generator(alone.generator)
                await learner.step(alone, given.next())
            assert first_step(learner.store, "a") == snapshot
            await learner.end()
            redis.kill()
            (log,) = redis.folder.glob("appendonlydir/*.incr.aof")
            with log.open("r+b") as file:
                file.truncate(log.stat().st_size - 5)
            redis.start()
            alone.steps, alone.state, alone.generator = before
            learner = Learner(plastic, redis)
            stream = await learner.model.stream("a")
            alone.check(stream.state, stream.steps)
            assert first_step(learner.store, "a") == 1
            await learner.end()

    asyncio.run(scenario())


def test_redis_with_a_damaged_journal(plastic: Bundle, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and counts as unknown, as any stream that cannot be read. What another server may replay is not."""

    logged: list[dict[str, Any]] = []
    monkeypatch.setattr("deploy_snn.server.redis_store.log_event", lambda *_, **fields: logged.append(fields))

    async def scenario() -> None:
        one, two = (Learner(plastic, redis) for _ in range(2))
        alone, given, client = Alone(plastic, "a"), Given(), one.store._redis
        for _ in range(10):
            await one.step(alone, given.next())
        key = one.store._key("a")
        kept = client.hgetall(key)
        for change, reason in (
            (lambda: client.hset(key, "9", kept[b"9"][:-1]), "the entry for step 9 of its journal is damaged"),
            (lambda: client.hdel(key, "5"), "does not follow step 2: an entry is missing"),
            (lambda: client.hdel(key, "14"), "the last entries of its journal are missing"),
            (lambda: client.hset(key, "14", with_note(kept[b"14"], "state", "01234567")), None),
        ):
            change()
            refusal = (InvalidInput, "has no stream here") if reason else (StoreFailed, "leads to another state than was")
            with pytest.raises(refusal[0], match=refusal[1]):
                await two.model.stream("a")
            assert reason is None or reason in logged.pop()["reason"]
            client.hset(key, mapping=kept)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deploy_snn.runtimes.find.unavailable_reason", lambda *_: "no such package")
            two.store._journal._replaying.clear()
            with pytest.raises(StoreFailed, match="only that can replay it: onnxruntime-cpu cannot run here"):
                await two.step(alone, given.next())
        await two.step(alone, given.next())
        await one.step(alone, given.next())
        # An earlier version of the server, which knows nothing of journals, has begun the stream anew.
        fresh = new_stream(plastic.initial_state(1), 1, "a", None)
        client.hset(key, mapping={"token": "theirs", "stream": pack_stream(fresh)})
        again = Alone(plastic, "a")
        again.check((await two.model.stream("a")).state, 0)
        again.take(inputs := given.next())
        request = InferRequest("", inputs, {}, False, "a", False, False, None, None)
        assert (await two.model.infer(request)).steps == again.steps
        again.check((await one.model.stream("a")).state, again.steps)
        await one.model.close()
        await two.model.close()

    asyncio.run(scenario())
