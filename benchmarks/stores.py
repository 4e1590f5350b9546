"""What a step costs a server, and what it adds to store each before it is acknowledged, in a file and in Redis.

Rates depend on how many cores the servers and the load share. The processor time for a step, of the server and of Redis,
does not: docs/capacity.md computes from it how many steps a core and a Redis can take.

Of a network that learns, the weights are stored with each step, or every 100 steps with the inputs of those in between.

``python benchmarks/stores.py [--seconds 4] [--rounds 3]``; needs redis-server and the extras ``serve`` and ``redis``.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from rich.console import Console
from serving import CASES, ROOT, any_port, load, served
from tables import Table

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model

WIDTHS = (1, 16, 64, 256)
MEMORY, FILE, REDIS = "in memory only", "--checkpoint", "--store redis://"
LEARNER = "Diehl & Cook, 784 -> 400, learning"
LEARNING = (str(ROOT / "models" / "diehl_cook_2015.py"), {"n": 400, "n_input": 784, "plastic": True}, None)
LEARNERS = (1, 16)
EACH = ["--weights-every", "1"]


@contextmanager
def running_redis(folder: Path) -> Iterator[tuple[str, redis.Redis]]:
    """A Redis that keeps each acknowledged step: it writes to the disk before it answers."""
    program, port = shutil.which("redis-server"), any_port()
    if program is None:
        raise SystemExit("no redis-server: apt install redis-server")
    options = f"--port {port} --bind 127.0.0.1 --dir {folder} --loglevel warning"
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    process = subprocess.Popen([program, *options.split(), *durable], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.1)
            yield f"redis://127.0.0.1:{port}/0", client
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, order=True)
class Cost:
    """Steps a second; for a step microseconds of processor time, and bytes that the server writes, or Redis is sent."""

    rate: float
    server: float
    redis: float
    server_bytes: float
    redis_bytes: float


def measure_one(server: tuple[str, int], bundle: Bundle, width: int, seconds: float, client: redis.Redis) -> Cost:
    """Step streams, and measure the processor time and the bytes of the server and of Redis."""
    address, process = server

    def read() -> np.ndarray:
        lines = httpx.get(f"http://{address}/metrics").text.splitlines()
        values = {line.split()[0].partition("{")[0]: float(line.split()[-1]) for line in lines if line[:1] != "#"}
        told = client.info()
        steps = values.get("deploy_snn_steps_total", 0.0)
        cpu = [values["process_cpu_seconds_total"], told["used_cpu_user"] + told["used_cpu_sys"]]
        return np.array([steps, *cpu, bytes_written(process), told["total_net_input_bytes"]])

    before = read()
    rate = load("http", address, bundle, width, seconds).rate
    steps, cpu, store_cpu, written, stored = read() - before
    return Cost(rate, 1e6 * cpu / steps, 1e6 * store_cpu / steps, written / steps, stored / steps)


def bytes_written(process: int) -> int:
    """What a process has written, to files and as answers to clients."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def measure(bundle: Bundle, rounds: int, seconds: float) -> tuple[dict[tuple[str, int], Cost], float]:
    """The cost of each store at each width, from the round with the median rate; and the bytes of a stream in Redis.

    The stores alternate in each round.
    """
    seen: dict[tuple[str, int], list[Cost]] = {}
    learns = bool(bundle.contract.weights)
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as (url, client):
        for number in range(rounds):
            options = {MEMORY: [], FILE: ["--checkpoint", f"{folder}/{number}"], REDIS: ["--store", url]}
            if learns:
                options |= {
                    f"{FILE}, weights each step": ["--checkpoint", f"{folder}/{number} each", *EACH],
                    f"{REDIS}, weights each step": ["--store", url, *EACH],
                }
            for name, given in options.items():
                with served(bundle, *given) as server:
                    for width in LEARNERS if learns else WIDTHS:
                        cost = measure_one(server, bundle, width, seconds, client)
                        seen.setdefault((name, width), []).append(cost)
        keys = client.keys()
        taken = sum(client.memory_usage(key) for key in keys) / len(keys)
    return {key: sorted(costs)[len(costs) // 2] for key, costs in seen.items()}, taken


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    console = Console(width=120)
    for title, (model, options, snap) in (CASES | {LEARNER: LEARNING}).items():
        with tempfile.TemporaryDirectory() as folder:
            bundle = export_model(model, options, Path(folder) / "model", golden_steps=2, snap=snap)
            found, taken = measure(bundle, given.rounds, given.seconds)
        names, widths = (list(dict.fromkeys(key)) for key in zip(*found, strict=True))
        columns = ["streams", *map(str, widths)]
        in_redis = [name for name in names if name.startswith(REDIS)]

        def row(label: str, name: str, field: str, *, columns: list[int] = widths, found: Any = found) -> list[str]:
            return [label, *(f"{getattr(found[name, width], field):,.0f}" for width in columns)]

        rows = [row(name, name, "rate") for name in names]
        Table(f"{title}: steps a second", columns, rows).show(console)
        rows = [row(f"{name}: server", name, "server") for name in names]
        rows += [row(f"{name}: Redis", name, "redis") for name in in_redis]
        Table(f"{title}: microseconds of processor time for a step", columns, rows).show(console)
        rows = [row(name, name, "redis_bytes" if name in in_redis else "server_bytes") for name in names]
        Table(f"{title}: bytes for a step, written by the server, or sent to Redis", columns, rows).show(console)
        state = sum(array.nbytes for array in bundle.initial_state(1).values())
        console.print(f"a stream takes {taken:,.0f} bytes in Redis; its state {state:,}\n")


if __name__ == "__main__":
    main()
