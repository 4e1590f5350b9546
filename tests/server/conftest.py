"""Fixtures that start a real server in its own process, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.runtimes.eager import Eager
from deploy_snn.server.stream import draw_noise, new_stream

from ..redis_process import REDIS, Redis  # noqa: TID252

EXPORT = Path(__file__).parent.parent.parent / "export"


@dataclass(frozen=True)
class Served:
    """A running server: its address, its process, and a function that returns its log."""

    address: str
    process: subprocess.Popen[bytes]
    log: Callable[[], str]


def any_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(
    bundles: list[Path],
    *options: object,
    environment: dict[str, str] | None = None,
    port: int | None = None,
    scheme: str = "http",
) -> Iterator[Served]:
    """Run ``deploy-snn serve``, and stop it with SIGTERM unless the test has; its exit status must be 0, or SIGKILL's."""
    port = port or any_port()
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # not a pipe: its buffer could fill up
        yield from _serve(log, f"{scheme}://127.0.0.1:{port}", bundles, options, environment or {})


def _serve(
    log: IO[str], url: str, bundles: list[Path], options: tuple[object, ...], environment: dict[str, str]
) -> Iterator[Served]:
    code = "from deploy_snn.cli.main import main; main()"
    address = url.partition("://")[2]
    port = address.split(":")[1]
    command = [sys.executable, "-c", code, "serve", *map(str, bundles), "--port", port, *map(str, options)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment)

    def read_log() -> str:
        log.seek(0)
        return log.read()

    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                httpx.get(f"{url}/v2/health/ready", verify=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, read_log()
        yield Served(address, process, read_log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.returncode in (0, -signal.SIGKILL), read_log()
        assert "Traceback" not in read_log(), read_log()


class Client:
    """A client of one stream. It compares each response with eager torch; ``known`` counts the acknowledged steps."""

    STEPS = 400

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.sequence: int | str = number if number % 3 else f"stream {number}"
        bundle = Bundle.open(EXPORT / self.name)
        drive = np.random.default_rng(number).random((self.STEPS, 1, 8), np.float32) * 25
        # If the model takes noise, the server draws it. A checkpoint must keep the generator's state too.
        noise = draw_noise(new_stream({}, 1, self.sequence, None).generator, bundle.contract, {"x": drive}, 1, self.STEPS)
        self.inputs = {"x": drive}
        self.wanted = record(Eager(bundle).program, self.inputs | noise, bundle.initial_state(1)).outputs["s"]
        self.known = 0

    def send(self, http: httpx.Client, steps: int) -> httpx.Response:
        begin, end = self.known, min(self.STEPS, self.known + steps)
        x = self.inputs["x"][begin:end]
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        parameters = {"sequence_id": self.sequence, "sequence_start": begin == 0}
        if begin:  # a start replaces an earlier stream of this name
            parameters["sequence_step"] = begin
        response = http.post(f"/v2/models/{self.name}/infer", json={"inputs": [tensor], "parameters": parameters})
        if response.status_code == 200:
            answer = response.json()
            assert_array_equal(np.array(answer["outputs"][0]["data"]).reshape(end - begin, 1, 8), self.wanted[begin:end])
            assert answer["parameters"]["sequence_step"] == end
            self.known = end
        return response


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """``refused(bundle, "--option", ...)``: start a server that must exit with status 2 and one line, and return it."""

    def start(*arguments: object) -> str:
        code = "from deploy_snn.cli.main import main; main()"
        command = [sys.executable, "-c", code, "serve", "--port", "0", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    return start


@pytest.fixture(scope="session")
def running() -> Callable[..., contextmanager]:
    return server


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return any_port


@pytest.fixture
def redis(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Redis]:
    if REDIS is None:
        pytest.skip("no redis-server: apt install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = Redis(folder, free_port())
    yield redis
    redis.kill()


@pytest.fixture(scope="session")
def client_of() -> Callable[[int, str], Client]:
    """``client_of(7, "lif")``: a client with its own stream. The number determines the stream's name and inputs."""
    return Client
