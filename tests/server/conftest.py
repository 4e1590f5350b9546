"""A real server, in a process of its own, that listens on loopback."""

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
    """Where a server listens, its process, and what it has logged."""

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
    """``deploy-snn serve``: ends with SIGTERM, or as a test has ended it, after which it must have ended well."""
    port = port or any_port()
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # no pipe, which would be full some time
        yield from _serve(log, f"{scheme}://127.0.0.1:{port}", bundles, options, environment or {})


def _serve(
    log: IO[str], url: str, bundles: list[Path], options: tuple[object, ...], environment: dict[str, str]
) -> Iterator[Served]:
    code = "from deploy_snn.cli.main import main; main()"
    address = url.partition("://")[2]
    port = address.split(":")[1]
    command = [sys.executable, "-c", code, "serve", *map(str, bundles), "--port", port, *map(str, options)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment)

    def shown() -> str:
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
        assert process.poll() is None, shown()
        yield Served(address, process, shown)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.returncode in (0, -signal.SIGKILL), shown()
        assert "Traceback" not in shown(), shown()


class Client:
    """One client of one stream: what it has sent, and what it has been told, each answer held against eager torch."""

    STEPS = 400

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.sequence: int | str = number if number % 3 else f"stream {number}"
        bundle = Bundle.open(EXPORT / self.name)
        drive = np.random.default_rng(number).random((self.STEPS, 1, 8), np.float32) * 25
        # Where the model takes noise, the server draws it, from a generator that has to outlive it as well.
        noise = draw_noise(new_stream({}, 1, self.sequence, None).generator, bundle.contract, {"x": drive}, 1, self.STEPS)
        self.inputs = {"x": drive}
        self.wanted = record(Eager(bundle).program, self.inputs | noise, bundle.initial_state(1)).outputs["s"]
        self.known = 0

    def send(self, http: httpx.Client, steps: int) -> httpx.Response:
        begin, end = self.known, min(self.STEPS, self.known + steps)
        x = self.inputs["x"][begin:end]
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        parameters = {"sequence_id": self.sequence, "sequence_start": begin == 0}
        if begin:  # a start takes the place of an earlier run
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
    """``refused(bundle, "--option", ...)``: what a server says that must not start; status 2, in one line, and at once."""

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
    """``client_of(7, "lif")``: a client with a stream of its own, whose name and inputs follow from the number."""
    return Client
