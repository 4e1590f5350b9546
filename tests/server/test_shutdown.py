"""SIGTERM under load: what waits is answered, what comes later refused, and every stream goes on from its last answer."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from numpy.testing import assert_array_equal
from websockets import ConnectionClosed
from websockets.sync.client import connect

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.stream import draw_noise, new_stream

EXPORT = Path(__file__).parent.parent.parent / "export"
NAME = "diehl_cook_2015"
STEPS = 5000


class Client:
    """One stream, by requests or by a WebSocket: how many of its steps were answered, and that each answer was right."""

    def __init__(self, number: int) -> None:
        self.number, self.known = number, 0
        self.x = (np.random.default_rng(number).random((STEPS, 1, 64)) < 0.3).astype(np.float32)
        self.got: list[np.ndarray] = []

    def by_requests(self, address: str) -> None:
        with httpx.Client(base_url=f"http://{address}/v2", timeout=60) as http:
            while self.known < STEPS:
                try:
                    response = self.step(http)
                except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
                    return
                if response.status_code == 503:
                    return
                assert response.status_code == 200, response.text

    def step(self, http: httpx.Client) -> httpx.Response:
        x = self.x[self.known]
        tensor = {"name": "X.x", "datatype": "FP32", "shape": [1, 64], "data": x.ravel().tolist()}
        parameters = {"sequence_id": self.number, "sequence_start": not self.known, "sequence_step": self.known}
        asked = {"inputs": [tensor], "outputs": [{"name": "exc.s"}], "parameters": parameters}
        response = http.post(f"/models/{NAME}/infer", json=asked)
        if response.status_code == 200:
            self.got.append(np.array(response.json()["outputs"][0]["data"]))
            self.known += 1
        return response

    def by_websocket(self, address: str) -> None:
        url = f"ws://{address}/v2/models/{NAME}/stream?sequence_id={self.number}"
        with connect(f"{url}&sequence_start=true") as socket:
            socket.recv()
            with suppress(ConnectionClosed):
                while self.known < STEPS:
                    socket.send(self.x[self.known].tobytes())
                    self.got.append(np.frombuffer(socket.recv(), np.bool_)[:16])
                    self.known += 1


def test_nothing_that_was_acknowledged_is_lost(running: Callable, tmp_path: Path) -> None:
    clients = [Client(number) for number in range(1, 17)]
    options = ("--checkpoint", tmp_path)
    with running([EXPORT / NAME], *options) as served:
        threads = [
            threading.Thread(target=client.by_requests if client.number % 2 else client.by_websocket, args=[served.address])
            for client in clients
        ]
        for thread in threads:
            thread.start()
        time.sleep(2)
        begun = time.monotonic()
        served.process.terminate()
        served.process.wait(30)
        assert time.monotonic() - begun < 5
        for thread in threads:
            thread.join()
    assert all(0 < client.known < STEPS for client in clients)

    bundle = Bundle.open(EXPORT / NAME)
    with running([EXPORT / NAME], *options) as served, httpx.Client(base_url=f"http://{served.address}/v2") as http:
        for client in clients:
            path = f"/models/{NAME}/sequences/{client.number}/state"
            taken = int(http.get(path).raise_for_status().headers["sequence-step"])
            # A request is answered, or is not read any more. A WebSocket is closed at once: one of its steps may have been
            # taken whose answer found nobody.
            assert client.known <= taken <= client.known + (client.number % 2 == 0)
            if taken > client.known:
                client.known += 1
                client.got.append(np.zeros(0))
            for _ in range(20):
                assert client.step(http).status_code == 200
            given = {"X.x": client.x[: client.known]}
            generator = new_stream({}, 1, client.number, None).generator
            given |= draw_noise(generator, bundle.contract, given, 1, client.known)
            wanted = record(Eager(bundle).program, given, bundle.initial_state(1)).outputs
            assert wanted["exc.s"].any()
            for got, row in zip(client.got, wanted["exc.s"][:, 0], strict=True):
                assert not len(got) or (got == row).all()
            assert_array_equal(client.got[-1], wanted["exc.s"][-1, 0])
