"""Steps a second and latencies of servers with many streams, the load coming from another process over loopback.

``make .venv/dev .venv/tritonserver && python benchmarks/serving.py [--seconds 4] [--rounds 3] [--markdown FILE]``
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from serving_load import websocket_opening
from tables import Table

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.triton import write_repository

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "triton"))

from tritonserver import missing, tritonserver  # noqa: E402

CASES = {
    "LIF, N = 100": ("lif", {"n": 100}, None),
    "Diehl & Cook, 784 -> 400": (str(ROOT / "models" / "diehl_cook_2015.py"), {"n": 400, "n_input": 784}, 14),
}
WIDTHS = (1, 16, 64, 256)
OURS, UNBATCHED, SOCKETS, TRITON = "ours", "ours, --max-batch 1", "ours, WebSocket", "tritonserver, python"
RPC = "ours, gRPC stream"
STARTS = 5
"""How often a server is started, of which the median time counts."""
IDLE = 4000
"""Streams of which the memory of one is measured."""


@dataclass(frozen=True)
class Load:
    """What the streams saw together: steps a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


@contextmanager
def served(bundle: Bundle, *options: str) -> Iterator[tuple[str, int]]:
    """``deploy-snn serve``: its address, and its process."""
    port = any_port()
    program = "from deploy_snn.cli.main import main; main()"
    command = [sys.executable, "-c", program, "serve", str(bundle.path), "--port", str(port), *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--log-level", "warning"], stdout=log, stderr=log)
        try:
            while not _answers(f"http://127.0.0.1:{port}/v2/health/ready"):
                time.sleep(0.01)
            yield f"127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait()


@contextmanager
def served_over_grpc(bundle: Bundle) -> Iterator[tuple[str, int]]:
    """``deploy-snn serve``: its address for gRPC, and its process."""
    port = any_port()
    with served(bundle, "--grpc-port", str(port)) as (_, process):
        yield f"127.0.0.1:{port}", process


def any_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def in_triton(bundle: Bundle) -> Iterator[tuple[str, int]]:
    """A real tritonserver with what ``deploy-snn triton --backend python`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        write_repository(Path(folder) / "repository", [bundle], "python")
        with tritonserver(Path(folder) / "repository") as server:
            yield server.http, server.process.pid


def load(kind: str, address: str, bundle: Bundle, streams: int, seconds: float) -> Load:
    """Let streams step for a while. Raises AssertionError if any of them was refused anything, or left out."""
    program = Path(__file__).with_name("serving_load.py")
    command = [sys.executable, program, kind, address, bundle.path, "--streams", streams, "--seconds", seconds]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert not found["refused"], found
    assert found["fewest"] > 1, found
    return Load(found["steps_per_second"], found["p50"] / 1e3, found["p99"] / 1e3)


def contenders() -> dict[str, tuple[str, Callable]]:
    """Every server with its protocol."""
    found: dict[str, tuple[str, Callable]] = {
        OURS: ("http", served),
        UNBATCHED: ("http", lambda bundle: served(bundle, "--max-batch", "1")),
        SOCKETS: ("websocket", served),
        RPC: ("grpc", served_over_grpc),
    }
    if missing() is None:
        found[TRITON] = ("http", in_triton)
    return found


def measure(bundle: Bundle, rounds: int, seconds: float) -> dict[tuple[str, int], Load]:
    """Measure all contenders at all widths. They alternate in each round; the round with the median rate counts."""
    seen: dict[tuple[str, int], list[Load]] = {}
    for _ in range(rounds):
        for name, (kind, serve) in contenders().items():
            with serve(bundle) as (address, _):
                for width in WIDTHS:
                    seen.setdefault((name, width), []).append(load(kind, address, bundle, width, seconds))
    return {key: sorted(loads, key=lambda found: found.rate)[len(loads) // 2] for key, loads in seen.items()}


def memory(process: int) -> int:
    """The resident memory of a process in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start(bundle: Bundle) -> tuple[float, int]:
    """Seconds until a server is ready, and the memory that it takes then."""
    seen = []
    for _ in range(STARTS):
        begun = time.perf_counter()
        with served(bundle) as (_, process):
            seen.append((time.perf_counter() - begun, memory(process)))
    return sorted(seen)[STARTS // 2]


def bytes_per_stream(bundle: Bundle) -> tuple[float, int]:
    """What a stream that rests takes of the server's memory, and what its state alone takes."""
    state = sum(array.nbytes for array in bundle.initial_state(1).values())
    inputs = [
        {
            "name": spec.name,
            "datatype": "FP32",
            "shape": list(spec.shape(batch=1)),
            "data": [0.0] * int(np.prod(spec.shape(batch=1))),
        }
        for spec in bundle.contract.inputs
        if spec.role != "noise"
    ]

    with served(bundle) as (address, process), httpx.Client(base_url=f"http://{address}/v2", timeout=60) as http:

        def begin(numbers: range) -> int:
            for number in numbers:
                asked = {"inputs": inputs, "parameters": {"sequence_id": number, "sequence_start": True}}
                http.post(f"/models/{bundle.path.name}/infer", json=asked).raise_for_status()
            return memory(process)

        before = begin(range(1, 1 + IDLE // 4))  # so that what the server keeps for all of them is there
        return (begin(range(10**6, 10**6 + IDLE)) - before) / IDLE, state


def bytes_per_connection(bundle: Bundle) -> dict[str, float]:
    """What an open connection that rests takes of the server's memory; a WebSocket has a stream of its own."""
    taken = {}
    with served(bundle) as (address, process), ExitStack() as stack:
        host, port = address.split(":")

        def open_connections(count: int, opening: bytes) -> int:
            for _ in range(count):
                wire = stack.enter_context(socket.create_connection((host, int(port))))
                wire.sendall(opening)
                wire.recv(2**16)
            return memory(process)

        ready = f"GET /v2/health/ready HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        for kind, opening in {"HTTP": ready, "WebSocket": websocket_opening(bundle.path.name, address)}.items():
            before = open_connections(IDLE // 16, opening)
            taken[kind] = (open_connections(IDLE // 2, opening) - before) / (IDLE // 2)
    return taken


def case(title: str, rounds: int, seconds: float) -> tuple[list[Table], list[str]]:
    """One model in every server."""
    model, options, snap = CASES[title]
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_model(model, options, Path(folder) / "model", golden_steps=2, snap=snap)
        found = measure(bundle, rounds, seconds)
        taken, state = bytes_per_stream(bundle)
        seconds_to_ready, resident = start(bundle)
        connections = bytes_per_connection(bundle)
    names = list(dict.fromkeys(name for name, _ in found))
    columns = ["streams", *(str(width) for width in WIDTHS)]
    rates = [[name, *(f"{found[name, width].rate:,.0f}" for width in WIDTHS)] for name in names]
    waits = [
        [name, *(f"{found[name, width].p50:.2f} / {found[name, width].p99:.2f}" for width in WIDTHS)] for name in names
    ]
    tables = [Table(f"{title}: steps a second", columns, rates), Table(f"{title}: p50 / p99 in ms", columns, waits)]
    lines = [
        f"{title}: batching at 64 streams {found[OURS, 64].rate / found[UNBATCHED, 64].rate:.1f} times the rate (goal 4)"
    ]
    if TRITON in names:
        ratios = ", ".join(f"{found[OURS, width].rate / found[TRITON, width].rate:.1f}" for width in WIDTHS)
        lines.append(f"{title}: {ratios} times tritonserver's rate at {', '.join(map(str, WIDTHS))} streams (goal 1)")
    ratios = ", ".join(f"{found[RPC, width].rate / found[OURS, width].rate:.1f}" for width in WIDTHS)
    lines.append(f"{title}: gRPC streams {ratios} times the rate of HTTP (goal 2)")
    lines.append(f"{title}: ready in {seconds_to_ready:.2f} s (goal 1), with {resident / 2**20:,.0f} MB of memory")
    each = ", ".join(f"{kind} {size:,.0f}" for kind, size in connections.items())
    lines.append(f"{title}: bytes of memory for a connection at rest: {each}")
    tail = max(found[name, width].p99 / found[name, width].p50 for name in (OURS, SOCKETS, RPC) for width in WIDTHS)
    lines.append(f"{title}: p99 at most {tail:.1f} times p50 (goal 5)")
    lines.append(
        f"{title}: a stream at rest takes {taken:,.0f} bytes; its state {state:,}, and so the goal {2 * state + 2000:,}"
    )
    return tables, lines


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    console = Console(width=120)
    if missing():
        console.print(f"without tritonserver: {missing()}")
    texts = []
    for title in CASES:
        tables, lines = case(title, options.rounds, options.seconds)
        for table in tables:
            table.show(console)
        console.print("\n".join(lines))
        texts += [*(table.markdown() for table in tables), *(f"- {line}" for line in lines), ""]
    if options.markdown:
        options.markdown.write_text("\n".join(texts))


if __name__ == "__main__":
    main()
