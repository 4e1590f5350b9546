"""SIGTERM under load: queued requests are answered, later ones rejected, and streams continue after a restart."""

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
    """A client of one stream, over HTTP or a WebSocket. It counts the acknowledged steps and keeps their outputs."""

    def __init__(self, number: int) -> None:
        self.number, self.acknowledged = number, 0
        self.x = (np.random.default_rng(number).random((STEPS, 1, 64)) < 0.3).astype(np.float32)
        self.got: list[np.ndarray] = []

    def run_over_http(self, address: str) -> None:
        with httpx.Client(base_url=f"http://{address}/v2", timeout=60) as http:
            while self.acknowledged < STEPS:
                try:
                    response = self.step(http)
                except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
                    return
                if response.status_code == 503:
                    return
                assert response.status_code == 200, response.text

    def step(self, http: httpx.Client) -> httpx.Response:
        x = self.x[self.acknowledged]
        tensor = {"name": "X.x", "datatype": "FP32", "shape": [1, 64], "data": x.ravel().tolist()}
        parameters = {
            "sequence_id": self.number,
            "sequence_start": not self.acknowledged,
            "sequence_step": self.acknowledged,
        }
        request = {"inputs": [tensor], "outputs": [{"name": "exc.s"}], "parameters": parameters}
        response = http.post(f"/models/{NAME}/infer", json=request)
        if response.status_code == 200:
            self.got.append(np.array(response.json()["outputs"][0]["data"]))
            self.acknowledged += 1
        return response

    def run_over_websocket(self, address: str) -> None:
        url = f"ws://{address}/v2/models/{NAME}/stream?sequence_id={self.number}"
        with connect(f"{url}&sequence_start=true") as socket:
            socket.recv()
            with suppress(ConnectionClosed):
                while self.acknowledged < STEPS:
                    socket.send(self.x[self.acknowledged].tobytes())
                    self.got.append(np.frombuffer(socket.recv(), np.bool_)[:16])
                    self.acknowledged += 1


def test_acknowledged_steps_are_kept(running: Callable, tmp_path: Path) -> None:
    """After SIGTERM under load and a restart, every stream continues from its last acknowledged step."""
    clients = [Client(number) for number in range(1, 17)]
    options = ("--checkpoint", tmp_path)
    with running([EXPORT / NAME], *options) as served:
        threads = [
            threading.Thread(
                target=client.run_over_http if client.number % 2 else client.run_over_websocket, args=[served.address]
            )
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
    assert all(0 < client.acknowledged < STEPS for client in clients)

    bundle = Bundle.open(EXPORT / NAME)
    with running([EXPORT / NAME], *options) as served, httpx.Client(base_url=f"http://{served.address}/v2") as http:
        for client in clients:
            path = f"/models/{NAME}/sequences/{client.number}/state"
            taken = int(http.get(path).raise_for_status().headers["sequence-step"])
            # A request is answered, or is not read any more. A WebSocket is closed at once: its last step may have been
            # executed without a response.
            assert client.acknowledged <= taken <= client.acknowledged + (client.number % 2 == 0)
            if taken > client.acknowledged:
                client.acknowledged += 1
                client.got.append(np.zeros(0))
            for _ in range(20):
                assert client.step(http).status_code == 200
            given = {"X.x": client.x[: client.acknowledged]}
            generator = new_stream({}, 1, client.number, None).generator
            given |= draw_noise(generator, bundle.contract, given, 1, client.acknowledged)
            wanted = record(Eager(bundle).program, given, bundle.initial_state(1)).outputs
            assert wanted["exc.s"].any()
            for got, row in zip(client.got, wanted["exc.s"][:, 0], strict=True):
                assert not len(got) or (got == row).all()
            assert_array_equal(client.got[-1], wanted["exc.s"][-1, 0])
