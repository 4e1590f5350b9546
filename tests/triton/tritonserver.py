"""Start a real tritonserver in its own process, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ENVIRONMENT = Path(sys.prefix) / "tritonserver"
"""The environment that ``make .venv/tritonserver`` creates."""


@dataclass(frozen=True)
class Tritonserver:
    """A running tritonserver: its addresses and its process."""

    http: str
    grpc: str
    process: subprocess.Popen[bytes]


def packages() -> Path:
    return ENVIRONMENT / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def stub() -> Path:
    """The executable in which Triton's python backend runs a model. There is one for each version of Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return packages() / "pytriton/tritonserver/python_backend_stubs" / version / "triton_python_backend_stub"


def environment(python: Path) -> dict[str, str]:
    """Return the stub's environment variables: it uses the first python3 on PATH, and needs the library of that Python."""
    libraries = [str(packages() / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    path = f"{python / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def missing() -> str | None:
    if not stub().is_file():
        return f"no tritonserver for this Python in {ENVIRONMENT}: make .venv/tritonserver"
    done = subprocess.run([stub()], env=environment(ENVIRONMENT), capture_output=True, text=True, check=False)
    return done.stderr.strip() if "shared libraries" in done.stderr else None


@contextmanager
def tritonserver(repository: Path, python: Path = ENVIRONMENT) -> Iterator[Tritonserver]:
    """Start tritonserver, and stop it with SIGTERM. Raises AssertionError with its log if it does not start.

    ``python`` is the environment of the models.
    """
    with ExitStack() as stack:
        ports = []
        for _ in range(2):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    server = packages() / "pytriton/tritonserver"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        backend = Path(folder) / "python"
        backend.mkdir()
        for file in (*(server / "backends/python").glob("*.*"), stub()):  # the wheel has them in different folders
            (backend / file.name).symlink_to(file)
        options = {
            "model-repository": repository,
            "backend-directory": folder,
            "http-address": "127.0.0.1",
            "grpc-address": "127.0.0.1",
            "http-port": ports[0],
            "grpc-port": ports[1],
            "allow-metrics": "false",
            "exit-timeout-secs": 1,
        }
        command = [server / "bin/tritonserver", *(f"--{key}={value}" for key, value in options.items())]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment(python))
        try:
            address = f"127.0.0.1:{ports[0]}"
            _wait(address, process)
            log.seek(0)
            assert process.poll() is None, log.read()
            yield Tritonserver(address, f"127.0.0.1:{ports[1]}", process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"http://{address}/v2/health/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
