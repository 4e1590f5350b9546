"""What a step costs a server, and what it adds to store each before it is acknowledged, in a file and in Redis.

Rates depend on how many cores the servers and the load share. The processor time for a step, of the server and of Redis,
does not: docs/capacity.md computes from it how many steps a core and a Redis can take.

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

import httpx
import numpy as np
import redis
from rich.console import Console
from serving import CASES, any_port, load, served
from tables import Table

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model

WIDTHS = (1, 16, 64, 256)
MEMORY, FILE, REDIS = "in memory only", "--checkpoint", "--store redis://"


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
    """Steps a second, and microseconds of processor time for a step: of the server, and of Redis."""

    rate: float
    server: float
    redis: float


def measure_one(address: str, bundle: Bundle, width: int, seconds: float, client: redis.Redis) -> Cost:
    """Let streams step, and read before and after what the server and Redis say of themselves."""

    def read() -> np.ndarray:
        lines = httpx.get(f"http://{address}/metrics").text.splitlines()
        values = {line.split()[0].partition("{")[0]: float(line.split()[-1]) for line in lines if line[:1] != "#"}
        cpu = client.info("cpu")
        steps = values.get("deploy_snn_steps_total", 0.0)
        return np.array([steps, values["process_cpu_seconds_total"], cpu["used_cpu_user"] + cpu["used_cpu_sys"]])

    before = read()
    rate = load("http", address, bundle, width, seconds).rate
    steps, server, store = read() - before
    return Cost(rate, 1e6 * server / steps, 1e6 * store / steps)


def measure(bundle: Bundle, rounds: int, seconds: float) -> tuple[dict[tuple[str, int], Cost], float]:
    """The cost of each store at each width, from the round with the median rate; and the bytes of a stream in Redis.

    The stores alternate in each round.
    """
    seen: dict[tuple[str, int], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as (url, client):
        for number in range(rounds):
            options = {MEMORY: [], FILE: ["--checkpoint", f"{folder}/{number}"], REDIS: ["--store", url]}
            for name, given in options.items():
                with served(bundle, *given) as (address, _):
                    for width in WIDTHS:
                        cost = measure_one(address, bundle, width, seconds, client)
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
    for title, (model, options, snap) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            bundle = export_model(model, options, Path(folder) / "model", golden_steps=2, snap=snap)
            found, taken = measure(bundle, given.rounds, given.seconds)
        columns = ["streams", *map(str, WIDTHS)]
        stores = (MEMORY, FILE, REDIS)
        rows = [[name, *(f"{found[name, width].rate:,.0f}" for width in WIDTHS)] for name in stores]
        Table(f"{title}: steps a second", columns, rows).show(console)
        rows = [[f"{name}: server", *(f"{found[name, width].server:,.0f}" for width in WIDTHS)] for name in stores]
        rows.append(["Redis", *(f"{found[REDIS, width].redis:,.1f}" for width in WIDTHS)])
        Table(f"{title}: microseconds of processor time for a step", columns, rows).show(console)
        state = sum(array.nbytes for array in bundle.initial_state(1).values())
        console.print(f"a stream takes {taken:,.0f} bytes in Redis; its state {state:,}\n")


if __name__ == "__main__":
    main()
