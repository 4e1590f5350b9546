"""Servers and their Redis that are killed, stopped and started under 64 streams, whose clients hop between them and vanish.

Each stream has to equal its lone run. No acknowledged step is lost, and none is taken twice. A third of the streams learn.
``DEPLOY_SNN_CHAOS_SECONDS`` sets how long it takes; ``make chaos`` runs it for ten minutes.
"""

import asyncio
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.testing import assert_array_equal
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.eager import record
from deploy_snn.runtimes import fastest_runtime
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.rpc.messages import SERVICE, message
from deploy_snn.server.stream import draw_noise, new_stream

from ..redis_process import Redis  # noqa: TID252

EXPORT = Path(__file__).parent.parent.parent / "export"
SECONDS = float(os.environ.get("DEPLOY_SNN_CHAOS_SECONDS", "30"))
NAMES = ("current-lif", "srm0")
LEARNER = "learner"
EVERY = 10
"""Steps after which the weights of a stream that learns are stored. In between it is replayed wherever it goes on."""
STREAMS, SERVERS = 64, 3
STEPS = 40
"""Of a run, after which the stream ends, and its client starts another."""
PATIENCE = 2.0
"""Seconds after which a client gives up on an answer."""
PAUSE = 0.1
"""The longest time in seconds between two requests of a client."""
AGAIN = re.compile(r"another server has taken over|Redis at \S+ failed|is shutting down|opens? no more")
"""Refusals after which the same request is sent again."""
LOST = (OSError, TimeoutError, EOFError, asyncio.IncompleteReadError, grpc.RpcError, asyncio.InvalidStateError)

Reply = tuple[np.ndarray, int] | str
"""The spikes of a request, and how many steps its stream has taken then; or why it was refused."""
Ask = Callable[[dict[str, Any]], Awaitable[Reply]]


class Place:
    """A server that is started again at the same ports."""

    def __init__(
        self,
        start: Callable[..., AbstractContextManager[Any]],
        bundles: list[Bundle],
        redis: Redis,
        port: int,
        rpc: int,
    ) -> None:
        self.http, self.rpc = f"127.0.0.1:{port}", f"127.0.0.1:{rpc}"
        options = ("--store", redis.url, "--grpc-port", rpc, "--weights-every", EVERY, "--log-level", "warning")
        paths = [bundle.path for bundle in bundles]
        self._start = lambda: start(paths, *options, port=port)

    def start(self) -> None:
        self._running = self._start()
        self.process = self._running.__enter__().process

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self._running.__exit__(None, None, None)  # which looks at the exit status, and for tracebacks


class Client:
    """One stream after the other, each request of which is repeated at any server until its outcome is known."""

    def __init__(self, number: int, bundle: Bundle, places: list[Place], seen: Counter[str]) -> None:
        self.number, self.places, self.seen = number, places, seen
        self.random = random.Random(number)
        self.name, learns = bundle.path.name, bool(bundle.contract.weights)
        self.input_name, self.output_name = ("X.x", "exc.s") if learns else ("x", "s")
        x = np.random.default_rng(number).random((STEPS, 1, 100 if learns else 8), np.float32)
        self.x = (x < 0.4).astype(np.float32) if learns else x * 25
        given = {self.input_name: self.x}
        given |= draw_noise(new_stream({}, 1, None, number).generator, bundle.contract, given, 1, STEPS)
        if learns:  # its sums may round otherwise in eager torch
            outputs = bundle.session(fastest_runtime(bundle)).run(given)
        else:
            outputs = record(Eager(bundle).program, given, bundle.initial_state(1)).outputs
        self.wanted = outputs[self.output_name]
        self.runs = 0
        self.begin_run()

    def begin_run(self) -> None:
        self.known, self.runs = 0, self.runs + 1
        self.sequence = f"stream {self.number}, run {self.runs}"
        self.choose()

    def choose(self) -> None:
        """Choose the next request. ``attempts`` counts how often it has been sent: its outcome is unknown until a reply."""
        self.size, self.attempts = min(self.random.choice((1, 1, 1, 2, 5)), STEPS - self.known), 0

    @property
    def last(self) -> bool:
        return self.known + self.size == STEPS

    def request(self) -> dict[str, Any]:
        """The parameters of the request, as each protocol has them."""
        start = {"sequence_start": True, "seed": self.number} if self.known == 0 else {}
        return {"sequence_id": self.sequence, "sequence_step": self.known, **start, "sequence_end": self.last}

    def input(self) -> np.ndarray:
        chunk = self.x[self.known : self.known + self.size]
        return chunk if self.size > 1 else chunk[0]

    def take(self, reply: Reply) -> None:
        """Hold a reply against what can be true."""
        where = f"{self.name}, {self.sequence}: {self.known} steps are known, {self.size} were sent {self.attempts} times"
        after = self.known + self.size
        if isinstance(reply, tuple):
            assert reply[1] == after, f"{where}, {reply[1]} were acknowledged"
            spikes = reply[0].reshape(self.wanted[self.known : after].shape)
            assert_array_equal(spikes, self.wanted[self.known : after], err_msg=where)
            self.seen["answered"] += 1
        elif taken := re.search(r"has taken (\d+) steps, not", reply):
            assert int(taken[1]) == after, f"{where}, and the stream has taken {taken[1]}"
            assert self.attempts > 1, where
            self.seen["found stepped"] += 1
        elif "has no stream here" in reply:
            assert self.last, f"{where}, and the stream is gone"
            assert self.attempts > 1, where
            self.seen["found ended"] += 1
        else:
            assert AGAIN.search(reply), f"{where}: {reply}"
            self.seen["refused"] += 1
            return
        if self.last:
            self.begin_run()
        else:
            self.known = after
            self.choose()

    async def run(self, stop: asyncio.Event) -> None:
        """Step until asked to stop, and then to the end of the run."""
        while not stop.is_set() or self.known or self.attempts:
            kind, place = self.random.choice([over_http, over_websocket, over_grpc]), self.random.choice(self.places)
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(PATIENCE):
                        ask = await stack.enter_async_context(kind(place, self))
                    await self.talk(ask, kind.__name__)
            except (*LOST, WebSocketException):
                self.seen["lost"] += 1
                await asyncio.sleep(PAUSE)

    async def talk(self, ask: Ask, kind: str) -> None:
        for _ in range(self.random.randint(1, 12)):
            self.attempts += 1
            run = self.runs
            asked = asyncio.ensure_future(ask(self.request()))
            if self.random.random() < 0.03:  # the client vanishes, its request being sent, or stepped, or answered
                await asyncio.sleep(self.random.random() * 0.01)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                self.seen["vanished"] += 1
                return
            reply = await asyncio.wait_for(asked, PATIENCE)
            self.seen[kind] += isinstance(reply, tuple)
            self.take(reply)
            await asyncio.sleep(self.random.random() * PAUSE)
            if self.runs > run:  # a WebSocket has one stream only
                return


def body(client: Client, parameters: dict[str, Any]) -> bytes:
    x = client.input()
    tensor = {"name": client.input_name, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    wanted = [{"name": client.output_name}]
    return json.dumps({"inputs": [tensor], "outputs": wanted, "parameters": parameters}).encode()


def reply_in(answer: dict[str, Any]) -> Reply:
    if "error" in answer:
        return str(answer["error"])
    return np.array(answer["outputs"][0]["data"]), answer["parameters"]["sequence_step"]


@asynccontextmanager
async def over_http(place: Place, client: Client) -> AsyncIterator[Ask]:
    reader, writer = await asyncio.open_connection(*place.http.split(":"))

    async def ask(parameters: dict[str, Any]) -> Reply:
        content = body(client, parameters)
        head = f"POST /v2/models/{client.name}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", answer.lower())
        return reply_in(json.loads(await reader.readexactly(int(size[1]))))

    try:
        yield ask
    finally:
        writer.transport.abort()


@asynccontextmanager
async def over_websocket(place: Place, client: Client) -> AsyncIterator[Ask]:
    start = "&sequence_start=true" if client.known == 0 else ""
    path = f"/v2/models/{client.name}/stream?sequence_id={client.sequence.replace(' ', '%20')}{start}"
    try:
        wire = await connect(f"ws://{place.http}{path}")
    except InvalidStatus as error:
        if error.response.body != b"Internal Server Error":  # so says uvicorn when it is asked to end during a handshake
            client.attempts += 1  # it stands for the request, which was not sent
            client.take(json.loads(error.response.body)["error"])
        raise OSError from None
    try:
        json.loads(await wire.recv())

        async def ask(parameters: dict[str, Any]) -> Reply:
            await wire.send(body(client, parameters).decode())
            return reply_in(json.loads(await wire.recv()))

        yield ask
    finally:
        wire.transport.abort()


@asynccontextmanager
async def over_grpc(place: Place, client: Client) -> AsyncIterator[Ask]:
    async with grpc.aio.insecure_channel(place.rpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=lambda asked: asked.SerializeToString(),
            response_deserializer=message("ModelStreamInferResponse").FromString,
        )()

        async def ask(parameters: dict[str, Any]) -> Reply:
            asked, x = message("ModelInferRequest")(model_name=client.name), client.input()
            asked.inputs.add(name=client.input_name, datatype="FP32", shape=x.shape)
            asked.outputs.add(name=client.output_name)
            asked.raw_input_contents.append(x.tobytes())
            for key, value in parameters.items():
                choice = {str: "string_param", bool: "bool_param", int: "int64_param"}[type(value)]
                setattr(asked.parameters[key], choice, value)
            await call.write(asked)
            answer = await call.read()
            if answer is grpc.aio.EOF:
                raise EOFError
            if answer.error_message:
                return str(answer.error_message)
            inferred = answer.infer_response
            spikes = np.frombuffer(inferred.raw_output_contents[0], np.bool_)
            return spikes, inferred.parameters["sequence_step"].int64_param

        try:
            yield ask
        finally:
            call.cancel()


class Chaos:
    """What happens to the servers and to Redis."""

    def __init__(self, places: list[Place], redis: Redis) -> None:
        self.places, self.redis, self.random = places, redis, random.Random(0)

    async def run(self, until: float) -> None:
        """Let everything happen once, in turn, and then in any order."""
        events = [
            self.kill_server,
            self.stop_server,
            self.kill_redis,
            self.stop_redis,
            self.end_server,
            self.stop_one_and_kill_another,
        ]
        while True:
            for event in events:
                await event()
                await asyncio.sleep(0.3 + self.random.random())
                if time.monotonic() > until:
                    return
            self.random.shuffle(events)

    async def kill_server(self) -> None:
        await self._again(self.random.choice(self.places), signal.SIGKILL)

    async def end_server(self) -> None:
        await self._again(self.random.choice(self.places), signal.SIGTERM)

    async def stop_server(self) -> None:
        await self._stopped(self.random.choice(self.places).process, 1.5 * PATIENCE)

    async def stop_one_and_kill_another(self) -> None:
        one, another = self.random.sample(self.places, 2)
        await asyncio.gather(self._stopped(one.process, 1.5 * PATIENCE), self._again(another, signal.SIGKILL))

    async def kill_redis(self) -> None:
        self.redis.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.redis.start)

    async def stop_redis(self) -> None:
        """For longer than a client waits, and at times for longer than a server does."""
        await self._stopped(self.redis.process, self.random.choice((1.2, 2.0)) * PATIENCE)

    async def _again(self, place: Place, number: int) -> None:
        await asyncio.to_thread(place.end, number)
        await asyncio.to_thread(place.start)

    async def _stopped(self, process: Any, seconds: float) -> None:
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)


def test_chaos(running: Callable, redis: Redis, free_port: Callable[[], int], tmp_path: Path) -> None:
    model, options = EXPORT.parent / "models" / "diehl_cook_2015.py", {"n": 40, "n_input": 100, "plastic": True}
    learner = export_model(str(model), options, tmp_path / LEARNER, formats=["onnx", "c"], golden_steps=0)
    bundles = [*(Bundle.open(EXPORT / name) for name in NAMES), learner]
    places = [Place(running, bundles, redis, free_port(), free_port()) for _ in range(SERVERS)]
    seen: Counter[str] = Counter()
    clients = [Client(number, bundles[number % len(bundles)], places, seen) for number in range(1, STREAMS + 1)]

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.to_thread(place.start) for place in places))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(client.run(stop)) for client in clients]
            await Chaos(places, redis).run(time.monotonic() + SECONDS)
            stop.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*runs)

    try:
        asyncio.run(scenario())
    finally:
        for place in places:
            with suppress(AttributeError):  # it was not started
                place.process.send_signal(signal.SIGCONT)
                place.end(signal.SIGTERM)
    assert all(client.runs > 1 for client in clients), "a stream did not go on"
    expected = {"answered", "found stepped", "lost", "refused", "vanished", "over_http", "over_websocket", "over_grpc"}
    assert expected <= seen.keys(), seen
