"""What it costs a server to store each step before it is acknowledged, in a file and in Redis; and the size of a stream.

``python benchmarks/stores.py [--seconds 4] [--rounds 3]``; needs redis-server and the extras ``serve`` and ``redis``.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """A Redis that writes each command to its log, and leaves it to the system when that reaches the disk."""
    program, port = shutil.which("redis-server"), any_port()
    if program is None:
        raise SystemExit("no redis-server: apt install redis-server")
    options = f"--port {port} --bind 127.0.0.1 --dir {folder} --appendonly yes --loglevel warning --save"
    process = subprocess.Popen([program, *options.split(), ""], stdout=subprocess.DEVNULL)
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


def measure(bundle: Bundle, rounds: int, seconds: float) -> tuple[dict[tuple[str, int], float], float]:
    """Steps a second of each store at each width, from the median round; and the bytes that a stream takes in Redis.

    The stores alternate in each round.
    """
    seen: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as (url, client):
        for number in range(rounds):
            options = {MEMORY: [], FILE: ["--checkpoint", f"{folder}/{number}"], REDIS: ["--store", url]}
            for name, given in options.items():
                with served(bundle, *given) as (address, _):
                    for width in WIDTHS:
                        rate = load("http", address, bundle, width, seconds).rate
                        seen.setdefault((name, width), []).append(rate)
        keys = client.keys()
        taken = sum(client.memory_usage(key) for key in keys) / len(keys)
    return {key: sorted(rates)[len(rates) // 2] for key, rates in seen.items()}, taken


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
        rows = [[name, *(f"{found[name, width]:,.0f}" for width in WIDTHS)] for name in (MEMORY, FILE, REDIS)]
        Table(f"{title}: steps a second", columns, rows).show(console)
        state = sum(array.nbytes for array in bundle.initial_state(1).values())
        console.print(f"a stream takes {taken:,.0f} bytes in Redis; its state {state:,}\n")


if __name__ == "__main__":
    main()
