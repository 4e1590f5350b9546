"""Several servers on one Redis: any of them goes on with any stream, and what one has acknowledged no other undoes."""

import asyncio
import itertools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from redis import Redis as client_of_redis  # noqa: N813
from websockets.sync.client import connect

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server import redis_store
from deploy_snn.server.errors import StepConflict, StoreFailed
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.redis_store import RedisStore
from deploy_snn.server.stream import new_stream

from ..redis_process import Redis  # noqa: TID252

EXPORT = Path(__file__).parent.parent.parent / "export"
NAMES = ("current-lif", "srm0")


class Server:
    """A model with a store of its own, as a server has it."""

    def __init__(self, redis: Redis, name: str = "lif", idle: float = 600, **limits: Any) -> None:
        self.bundle = Bundle.open(EXPORT / name)
        self.store = RedisStore(redis.url, idle, name, self.bundle)
        self.model = Model(self.bundle, "onnxruntime-cpu", Limits(idle_timeout=idle, **limits), self.store)
        self.model.open()

    async def step(self, name: str, x: np.ndarray | float = 9.0, **flags: Any) -> int:
        return (await self.infer(name, np.full((1, 8), x, np.float32), **flags)).steps

    async def infer(
        self, name: str | int, x: np.ndarray, *, start: bool = False, end: bool = False, step: int | None = None
    ) -> Any:
        request = InferRequest("", {"x": x}, {}, False, name, start, end, None, step)
        return await self.model.infer(request)


def together(scenario: Callable[..., Awaitable[None]], *servers: Callable[[], Server]) -> None:
    """Run a scenario with servers, in one event loop."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[list[Server]]:
        running = [server() for server in servers]
        yield running
        for server in running:
            await server.model.close()

    async def run() -> None:
        async with opened() as running:
            await scenario(*running)

    asyncio.run(run())


@pytest.mark.parametrize("name", NAMES)
def test_each_step_on_another_server(name: str, redis: Redis, client_of: Callable) -> None:
    """Streams that never stay anywhere are equal to their lone runs: state, and the generator of noise."""
    clients = [client_of(number, name) for number in range(1, 9)]

    async def scenario(*servers: Server) -> None:
        async def run(client: Any) -> None:
            for step in range(40):
                server, x = servers[(step + client.number) % 3], client.inputs["x"][step]
                result = await server.infer(client.sequence, x, start=step == 0, end=step == 39, step=step)
                assert result.steps == step + 1
                assert_array_equal(result.outputs["s"], client.wanted[step])

        await asyncio.gather(*map(run, clients))

    together(scenario, *[lambda: Server(redis, name)] * 3)


def test_the_old_server_is_refused_in_the_middle_of_a_request(redis: Redis) -> None:
    """A long chunk is being stepped when another server takes the stream over: it counts as not stepped."""

    async def scenario(old: Server, new: Server) -> None:
        assert await old.step("a", start=True) == 1
        write, entered, go_on = old.store.write, threading.Event(), threading.Event()

        def late(*arguments: Any) -> Any:
            entered.set()
            assert go_on.wait(30)
            return write(*arguments)

        old.store.write = late
        outcome = asyncio.create_task(old.infer("a", np.full((5, 1, 8), 9, np.float32)))
        await asyncio.to_thread(entered.wait, 30)
        assert await new.step("a", 3.0) == 2
        before = (await new.model.stream("a")).state
        go_on.set()
        with pytest.raises(StepConflict, match="another server has taken over the stream of sequence 'a'"):
            await outcome
        assert_array_equal((await new.model.stream("a")).state["v"], before["v"])
        with pytest.raises(StepConflict, match="has taken 2 steps, not 1"):
            await old.step("a", step=1)
        assert await old.step("a", step=2) == 3
        assert await new.step("a", step=3) == 4

    together(scenario, *[lambda: Server(redis)] * 2)


def test_writes_under_an_old_token_are_refused(redis: Redis) -> None:
    """Also late ones of the same server, and those for a stream that has ended or begun again."""
    bundle = Bundle.open(EXPORT / "lif")
    one, two = (RedisStore(redis.url, 600, "lif", bundle) for _ in range(2))
    fresh = new_stream(bundle.initial_state(1), 1, "a", None)
    first = fresh.held_under(one.claim({}, ["a"]).token)
    assert one.read("a") is None, "claimed, and not stored"
    assert one.write({"a": replace(first, steps=1)}, {}) == set()
    held = one.claim({"a": first}, []).streams["a"]
    assert held.state is first.state, "nobody else has it: it is not read again"
    assert one.write({"a": replace(first, steps=7)}, {}) == {"a"}, "an earlier attempt, late"
    begun = fresh.held_under(two.claim({}, ["a"]).token)
    assert two.read("a").steps == 1, "as long as the new one has not taken its first step"
    assert one.write({}, {"a": held}) == {"a"}
    assert two.write({"a": replace(begun, steps=2)}, {}) == set()
    assert two.write({}, {"a": begun}) == set()
    assert two.write({"a": begun}, {}) == {"a"}, "it has ended"
    assert "a" not in two.claim({"a": begun, "b": None}, []).streams
    assert two.read("a") is None
    for store in (one, two):
        store.close()


def test_streams_that_end_begin_and_move_elsewhere(redis: Redis) -> None:
    async def scenario(one: Server, two: Server) -> None:
        assert [await one.step("a", start=True), await one.step("a"), await two.step("a", end=True)] == [1, 2, 3]
        with pytest.raises(InvalidInput, match="has no stream here"):
            await one.step("a")
        assert await two.step("a", start=True) == 1
        assert await one.step("a") == 2
        assert [await two.step("a", start=True), await one.step("a")] == [1, 2], "begun anew"
        with pytest.raises(InvalidInput, match="to infinity"):
            await two.infer("a", np.full((5, 1, 8), -3e38, np.float32), start=True)
        assert await one.step("a") == 3, "a start that failed leaves the stream as it was"
        with pytest.raises(StepConflict, match="already has a stream in the store"):
            await two.model.import_stream("a", await one.model.stream("a"))
        await two.model.import_stream("b", await one.model.stream("a"))
        assert [await one.step("b"), await two.step("b"), await two.step("a")] == [4, 5, 4]
        await one.model.drop_streams(["a", "b"])
        assert [await two.step("a"), await two.step("b")] == [5, 6], "one held neither"

    together(scenario, *[lambda: Server(redis)] * 2)


def test_a_start_that_arrives_late(redis: Redis) -> None:
    """It was sent again elsewhere, and the stream has gone on since: with its step number it undoes nothing."""

    async def scenario(one: Server, two: Server) -> None:
        assert [await one.step("a", start=True, step=0), await two.step("a", step=1)] == [1, 2]
        for server in (one, two):
            with pytest.raises(StepConflict, match="has taken 2 steps, not 0"):
                await server.step("a", start=True, step=0)
        assert [await one.step("a", step=2), await two.step("a", step=3, end=True)] == [3, 4]
        assert await one.step("a", start=True, step=0) == 1, "there is none of this name, though one has a copy"
        assert await two.step("a", start=True) == 1, "without a number it begins anew"

    together(scenario, *[lambda: Server(redis)] * 2)


def test_two_servers_start_a_stream_at_once(redis: Redis) -> None:
    """The later claim has it, even if the earlier server is slow to store its first step."""

    async def scenario(old: Server, new: Server) -> None:
        write = old.store.write

        def late(*arguments: Any) -> Any:
            assert asyncio.run_coroutine_threadsafe(new.step("a", start=True, step=0), loop).result(30) == 1
            return write(*arguments)

        loop, old.store.write = asyncio.get_running_loop(), late
        with pytest.raises(StepConflict, match="another server has taken over"):
            await old.infer("a", np.full((5, 1, 8), 9, np.float32), start=True, step=0)
        assert await new.step("a", step=1) == 2

    together(scenario, *[lambda: Server(redis)] * 2)


def test_a_server_remembers_few_streams(redis: Redis) -> None:
    async def scenario(few: Server, other: Server) -> None:
        names = [f"stream {number}" for number in range(7)]
        assert await asyncio.gather(*(few.step(name, start=True) for name in names[:2])) == [1, 1]
        for name in names[2:]:
            assert await few.step(name, start=True) == 1
        for name in names:
            assert await few.step(name) == 2
        assert len(few.model.streams) == 2
        await few.model.drop_idle(time.monotonic())
        assert not few.model.streams
        assert await other.step(names[-1]) == 3

    together(scenario, lambda: Server(redis, max_streams=2), lambda: Server(redis))


def test_redis_forgets_idle_streams(redis: Redis) -> None:
    async def scenario(one: Server, two: Server) -> None:
        assert [await one.step("a", start=True), await two.step("b", start=True)] == [1, 1]
        with pytest.raises(InvalidInput, match="has no stream here"):  # noqa: PT012
            for _ in range(600):
                await two.model.stream("a")
                await asyncio.sleep(0.05)
        assert await one.step("b") == 2

    together(scenario, lambda: Server(redis, idle=1), lambda: Server(redis))


def test_redis_ends_and_comes_back(redis: Redis) -> None:
    """Nothing is acknowledged without it; readiness says so; what was acknowledged is there again after a kill -9."""

    async def scenario(one: Server, two: Server) -> None:
        assert [await one.step("a", start=True), await one.step("a")] == [1, 2]
        redis.kill()
        for asked in (one.step("a"), one.step("b", start=True), one.model.stream("a")):
            with pytest.raises(StoreFailed, match=f"Redis at 127.0.0.1:{redis.port} failed"):
                await asked
        assert "failed" in one.model.problem()
        redis.start()
        for _ in range(200):
            if one.model.problem() is None:
                break
            await asyncio.sleep(0.05)
        assert one.model.problem() is None
        assert [await again(two, 2), await again(one, 3)] == [3, 4]
        write = one.store.write

        def too_late(*arguments: Any) -> Any:
            redis.kill()
            return write(*arguments)

        one.store.write = too_late
        with pytest.raises(StoreFailed):
            await one.step("a")
        one.store.write = write
        redis.start()
        assert [await again(one, 4), await again(two, 5)] == [5, 6]

    async def again(server: Server, step: int) -> int:
        """A step on a connection of before the restart may fail once more; it was not taken, so it is sent again."""
        for _ in range(3):
            try:
                return await server.step("a", step=step)
            except StoreFailed:
                await asyncio.sleep(0.2)
        return await server.step("a", step=step)

    together(scenario, *[lambda: Server(redis)] * 2)


def test_settings_of_redis_that_lose_steps(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names each setting, and none for the one that keeps everything."""

    events: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(redis_store, "log_event", lambda event, _level, **fields: events.append((event, fields)))

    bundle = Bundle.open(EXPORT / "lif")

    def reasons(**settings: str) -> list[str]:
        with client_of_redis(port=redis.port) as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)
        events.clear()
        RedisStore(redis.url, 600, "lif", bundle)
        return [fields["reason"] for event, fields in events if event == "store may lose streams"]

    assert reasons() == []
    (reason,) = reasons(appendfsync="everysec")
    assert reason == "appendfsync is everysec and not always, so that the last steps may be lost if Redis ends"
    assert len(reasons(appendonly="no", maxmemory="1gb", maxmemory_policy="allkeys-lru")) == 2


def test_an_answer_of_redis_is_lost(redis: Redis) -> None:
    """The step is in Redis and not acknowledged. Repeated with its number, it is refused elsewhere, and the same here."""

    async def scenario(one: Server, two: Server) -> None:
        assert [await one.step(name, start=True) for name in "ab"] == [1, 1]
        write = one.store.write

        def lost(*arguments: Any) -> Any:
            write(*arguments)
            raise StoreFailed("the answer was lost")

        one.store.write = lost
        for name in "ab":
            with pytest.raises(StoreFailed):
                await one.step(name)
        one.store.write = write
        stepped = (await two.model.stream("a")).state["v"]
        assert await one.step("a", step=1) == 2
        assert_array_equal((await two.model.stream("a")).state["v"], stepped)
        with pytest.raises(StepConflict, match="has taken 2 steps, not 1"):
            await two.step("b", step=1)

    together(scenario, *[lambda: Server(redis)] * 2)


def test_addresses_that_cannot_be_used(redis: Redis, refused: Callable[..., str], free_port: Callable[[], int]) -> None:
    bundle = Bundle.open(EXPORT / "lif")
    with pytest.raises(InvalidInput, match="cannot be used as a store: ") as told:
        RedisStore(f"redis://:secret@127.0.0.1:{free_port()}/0", 600, "lif", bundle)
    assert "secret" not in str(told.value)
    with pytest.raises(InvalidInput, match="the store's address cannot be used: "):
        RedisStore("http://127.0.0.1", 600, "lif", bundle)
    assert "choose one" in refused(EXPORT / "lif", "--store", redis.url, "--checkpoint", redis.folder)


class Traffic:
    """Clients that send each request to the next server; one that is not answered, again to the one after.

    A stream that nears the end of its inputs starts anew.
    """

    def __init__(self, clients: list[Any], addresses: list[str]) -> None:
        self.clients, self.addresses = clients, addresses
        self.troubles: list[BaseException] = []
        self._answered: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[client]) for client in clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: Any) -> None:
        places = itertools.cycle(self.addresses[:: 1 - 2 * (client.number % 2)])
        while not self._stop.is_set() and not self.troubles:
            if client.known > client.STEPS - 50:
                client.known = 0
            try:
                with httpx.Client(base_url=f"http://{next(places)}", timeout=10) as http:
                    self._answered[client.number] += advance(client, http, 1 + client.known % 3)
            except httpx.TransportError:
                pass
            except BaseException as error:  # noqa: BLE001
                self.troubles.append(error)

    def all_go_on(self) -> None:
        """Wait until every stream has been stepped again."""
        before = self._answered.copy()
        for _ in range(1200):
            assert not self.troubles, self.troubles
            if all(self._answered[client.number] > before[client.number] for client in self.clients):
                return
            time.sleep(0.05)
        raise AssertionError("a stream does not go on")


def advance(client: Any, http: httpx.Client, steps: int) -> bool:
    """Send a request; True if it was stepped. One before may have been, and not acknowledged; none may be missing."""
    before = client.known
    response = client.send(http, steps)
    if response.status_code == 409 and " has taken " in response.text:
        client.known = int(response.json()["error"].split(" has taken ")[1].split(" ")[0])
        assert before < client.known <= before + 3, response.text
    else:
        assert response.status_code in (200, 503), response.text
    return response.status_code == 200


def test_servers_and_redis_are_killed_under_load(running: Callable, client_of: Callable, redis: Redis) -> None:
    """Every stream is equal to its lone run, no acknowledged step is lost and none is taken twice."""
    clients = [client_of(number, NAMES[number % 2]) for number in range(1, 13)]
    bundles, options = [EXPORT / name for name in NAMES], ("--store", redis.url)
    with running(bundles, *options) as one, running(bundles, *options) as two:
        with Traffic(clients, [one.address, two.address]) as traffic:
            traffic.all_go_on()
            two.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            two.process.send_signal(signal.SIGCONT)
            traffic.all_go_on()
            redis.kill()
            time.sleep(0.2)
            redis.start()
            traffic.all_go_on()
            one.process.kill()
            one.process.wait()
            traffic.all_go_on()
        assert not traffic.troubles, traffic.troubles
        with httpx.Client(base_url=f"http://{two.address}", timeout=60) as http:
            for client in clients:
                while client.known < client.STEPS:
                    advance(client, http, 60)
        path = f"ws://{two.address}/v2/models/{clients[0].name}/stream?sequence_id={clients[0].sequence}"
        with connect(path) as wire:
            assert json.loads(wire.recv())["sequence_step"] == clients[0].STEPS
