"""Requests with a known head take a way of their own, with the answers, the order and the limits of the other way."""

import asyncio
import gzip
import json
import struct
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from uvicorn.server import ServerState

from deploy_snn.bundle import Bundle
from deploy_snn.server.app import create_app
from deploy_snn.server.body import BodyLimits
from deploy_snn.server.connection import Connection
from deploy_snn.server.lane import KnownHead, Lane, Respond
from deploy_snn.server.limits import Limits
from deploy_snn.server.repository import Repository, Settings

EXPORT = Path(__file__).parent.parent.parent / "export"
INFER = "/v2/models/lif/infer"
TOKEN = "Authorization: Bearer secret"


class CountingLane(Lane):
    """Counts its requests."""

    count = 0

    def infer(self, known: KnownHead, body: bytes, respond: Respond) -> None:
        self.count += 1
        super().infer(known, body, respond)


class Place:
    """A server in this event loop, and what the tests look at."""

    def __init__(self, repository: Repository, lane: CountingLane, state: ServerState, port: int) -> None:
        self.repository, self.lane, self.state, self.port = repository, lane, state, port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


def serving(test: Callable[[Place], Coroutine[Any, Any, None]], *, keep_alive: float = 5.0, **limits: Any) -> None:
    """Run a test beside a server."""

    async def run() -> None:
        body = BodyLimits(size=2**20)
        settings = Settings([Bundle.open(EXPORT / "lif")], "onnxruntime-cpu", Limits(**limits), body, token="secret")
        repository = Repository(settings)
        repository.prepare()
        repository.open()
        lane, state = CountingLane(repository), ServerState()
        config = uvicorn.Config(create_app(repository), timeout_keep_alive=keep_alive, log_config=None)  # type: ignore[arg-type]
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(lane, config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        try:
            await asyncio.wait_for(test(Place(repository, lane, state, server.sockets[0].getsockname()[1])), 20)
        finally:
            server.close()
            for connection in list(state.connections):
                connection.shutdown()
            await repository.close()

    asyncio.run(run())


def post(body: bytes, *headers: str, path: str = INFER) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", TOKEN, f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def asking(x: np.ndarray, **parameters: object) -> bytes:
    given = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return json.dumps({"inputs": [given], "parameters": parameters}).encode()


def packed(x: np.ndarray, **parameters: object) -> tuple[bytes, str]:
    """A body with its values in binary, and the header that it takes."""
    given = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True, **parameters}}).encode()
    return head + x.tobytes(), f"Inference-Header-Content-Length: {len(head)}"


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str], bytes]:
    """A response: its status line, its headers and its body."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode()[:-4].split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines)
    return status.encode(), headers, await reader.readexactly(int(headers["content-length"]))


ONES = np.ones((1, 8), np.float32)
BINARY, BINARY_HEADER = packed(ONES)
LONG = asking(np.ones((200, 1, 8), np.float32) * 20)
HUGE, HUGE_HEADER = packed(np.ones((1500, 1, 8), np.float32) * 20)
CASES = {
    "JSON": (post(asking(ONES)), b"200"),
    "binary": (post(BINARY, BINARY_HEADER), b"200"),
    "a version": (post(asking(ONES), path="/v2/models/lif/versions/1/infer"), b"200"),
    "packed answer": (post(LONG, "Accept-Encoding: gzip"), b"200"),
    "an answer that is rendered in a thread": (post(HUGE, HUGE_HEADER), b"200"),
    "no JSON": (post(b"{"), b"400"),
    "another length of the JSON": (post(BINARY, "Inference-Header-Content-Length: 3"), b"400"),
    "no stream": (post(asking(ONES, sequence_id=9)), b"400"),
    "no model": (post(asking(ONES), path="/v2/models/none/infer"), b"404"),
    "another step": (post(asking(ONES, sequence_id=9, sequence_step=3)), b"400"),
}


@pytest.mark.parametrize("case", CASES)
def test_both_ways_give_the_same_answer(case: str) -> None:
    asked, status = CASES[case]

    async def test(place: Place) -> None:
        reader, writer = await place.connect()
        seen = []
        for times in range(3):
            writer.write(asked)
            seen.append(await answer(reader))
            assert place.lane.count == times
        for _, headers, _ in seen:
            headers.pop("date", None)
        if case == "packed answer":
            assert [gzip.decompress(body) for _, _, body in seen[1:]] == [gzip.decompress(seen[0][2])] * 2
            seen = [(line, headers | {"content-length": ""}, b"") for line, headers, _ in seen]
        assert seen[0] == seen[1] == seen[2]
        assert seen[0][0].split()[1] == status
        text = place.repository.metrics.text().decode()
        outcome = {b"200": "answered", b"400": "refused"}.get(status)
        expected = f'deploy_snn_requests_total{{model="lif",outcome="{outcome}"}} 3.0'
        assert (expected in text) == (outcome is not None)
        assert "none" not in text
        assert place.repository.in_flight._used == 0
        writer.close()

    serving(test)


def test_a_request_that_comes_while_another_is_in_the_lane_waits() -> None:
    async def test(place: Place) -> None:
        reader, writer = await place.connect()
        ordinary = b"GET /v2/models/lif/ready HTTP/1.1\r\nHost: localhost\r\n" + TOKEN.encode() + b"\r\n\r\n"
        for asked in (post(asking(ONES, sequence_id=1, sequence_start=True)), post(asking(ONES, sequence_id=1))):
            writer.write(asked)
            await answer(reader)
        once = post(asking(ONES, sequence_id=1))
        writer.write(once)
        await asyncio.sleep(0.02)  # the batch waits for longer
        writer.write(once + ordinary + once[:30])
        await asyncio.sleep(0.02)
        writer.write(once[30:])
        seen = [json.loads((await answer(reader))[2]) for _ in range(4)]
        assert [body.get("parameters", {}).get("sequence_step") for body in seen] == [3, 4, None, 5]
        assert seen[2] == {"name": "lif", "ready": True}
        assert place.lane.count >= 1
        writer.close()

    serving(test, max_wait=0.1)


def test_a_server_that_ends_answers_the_lane_first() -> None:
    async def test(place: Place) -> None:
        reader, writer = await place.connect()
        asked = post(asking(ONES))
        writer.write(asked)
        await answer(reader)
        writer.write(asked)
        await asyncio.sleep(0.02)
        for connection in list(place.state.connections):
            connection.shutdown()
        status, headers, _ = await answer(reader)
        assert (status.split()[1], headers["connection"], await reader.read()) == (b"200", "close", b"")
        assert place.lane.count == 1
        writer.close()

    serving(test, max_wait=0.1)


def test_the_timeout_counts_from_the_last_answer() -> None:
    """A batch that waits for longer than the timeout is answered; a connection at rest ends."""

    async def test(place: Place) -> None:
        reader, writer = await place.connect()
        asked, loop = post(asking(ONES)), asyncio.get_running_loop()
        for _ in range(3):
            writer.write(asked)
            assert (await answer(reader))[0].split()[1] == b"200"
        assert place.lane.count == 2
        begun = loop.time()
        assert await reader.read() == b""
        assert 0.15 < loop.time() - begun < 0.6
        writer.close()

    serving(test, keep_alive=0.2, max_wait=0.3)


def test_a_client_that_has_gone_changes_nothing_for_others() -> None:
    async def test(place: Place) -> None:
        asked = post(asking(ONES))
        for _ in range(2):
            reader, writer = await place.connect()
            writer.write(asked)
            await answer(reader)
            writer.write(asked)
            await asyncio.sleep(0.02)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(__import__("socket").SOL_SOCKET, __import__("socket").SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        reader, writer = await place.connect()
        writer.write(asked)
        assert (await answer(reader))[0].split()[1] == b"200"
        assert place.lane.count == 4
        assert place.repository.in_flight._used == 0
        writer.close()

    serving(test, max_wait=0.05)


NOT_LEARNT = {
    "packed": post(gzip.compress(asking(ONES)), "Content-Encoding: gzip"),
    "with a query": post(asking(ONES), path=f"{INFER}?a=b"),
    "with a query that ends as a path": post(asking(ONES), path="/v2/models/lif?/infer"),
    "the last on its connection": post(asking(ONES), "Connection: close"),
    "without a token": post(asking(ONES)).replace(b"secret", b"guess!"),
    "of another site": post(asking(ONES), "Origin: http://elsewhere"),
    "large": post(asking(np.ones((400, 64, 8), np.float32))),
    "in chunks": post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(asking(ONES)), asking(ONES)),
    "of HTTP/1.0": post(asking(ONES)).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


REFUSED = {"without a token": b"401", "of another site": b"403", "with a query that ends as a path": b"405"}


@pytest.mark.parametrize("case", NOT_LEARNT)
def test_only_plain_requests_are_learnt(case: str) -> None:
    async def test(place: Place) -> None:
        statuses = []
        for _ in range(2):
            reader, writer = await place.connect()
            writer.write(NOT_LEARNT[case])
            statuses.append((await answer(reader))[0].split()[1])
            writer.close()
        expected = REFUSED.get(case, b"200")
        assert statuses == [expected, expected]
        assert (place.lane.count, place.lane._heads) == (0, {})

    serving(test)


def test_a_head_with_other_line_ends_is_not_learnt() -> None:
    """Where the parser ends a head is no matter of ours: what follows it may contain our end."""
    lane = Lane(Repository(Settings([Bundle.open(EXPORT / "lif")])))
    headers = [(b"host", b"localhost"), (b"content-length", b"4")]
    head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4".encode()
    for other in (head.replace(b"\r\n", b"\n"), head + b"\n\nGET / HTTP/1.1", head + b"\r\nAnother: header"):
        lane.learn(other, INFER.encode(), headers)
        assert lane.find(other) is None
    lane.learn(head, INFER.encode(), headers)
    known = lane.find(head)
    assert known is not None
    assert replace(known, size=0) == KnownHead(INFER, "lif", "1", 0, None, gzip=False)
    for number in range(1000):
        lane.learn(head + b"0" * number, INFER.encode(), headers)
    assert len(lane._heads) <= 512
