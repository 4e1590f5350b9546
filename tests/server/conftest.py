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
import pytest


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
    bundles: list[Path], *options: object, environment: dict[str, str] | None = None, port: int | None = None
) -> Iterator[Served]:
    """``deploy-snn serve``: ends with SIGTERM, or as a test has ended it, after which it must have ended well."""
    port = port or any_port()
    with tempfile.TemporaryFile("w+") as log:  # no pipe, which would be full some time
        yield from _serve(log, port, bundles, options, environment or {})


def _serve(
    log: IO[str], port: int, bundles: list[Path], options: tuple[object, ...], environment: dict[str, str]
) -> Iterator[Served]:
    code = "from deploy_snn.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", *map(str, bundles), "--port", str(port), *map(str, options)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment)

    def shown() -> str:
        log.seek(0)
        return log.read()

    address = f"127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                httpx.get(f"http://{address}/v2/health/ready")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, shown()
        yield Served(address, process, shown)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.returncode in (0, -signal.SIGTERM, -signal.SIGKILL), shown()
        assert "Traceback" not in shown(), shown()


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
