"""Microseconds a step in a page: our WebAssembly beside onnxruntime-web (wasm) and native C, one thread, batch 1, one run.

``python benchmarks/web.py [--neurons 100,400] [--rounds 10] [--json FILE]`` needs headless Chromium, playwright, and
``npm install`` in serve/web. The contenders take turns in each round, and their times are medians. All must give the same
number of spikes. It also counts the frames a second of the page of ``deploy-snn web`` with 1000 neurons.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, sync_playwright
from tables import Table, micros

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.cli.table import console
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Arrays, write_tensors
from deploy_snn.web import write_site

ROOT = Path(__file__).parents[1]
STEPS, N_INPUT, SEED, SNAP, RATE, DRAWN = 500, 784, 0, 14, 0.05, 1000
NATIVE = "native C"
CONTENDERS = (
    "deploy-snn.js, run",
    "deploy-snn.js, step by step",
    "onnxruntime-web, step.onnx",
    "onnxruntime-web, sequence.onnx",
)
FRAMES = """async () => {
    const begun = performance.now();
    let frames = 0;
    await new Promise((done) => {
        const next = () => (frames++, performance.now() - begun < 3000 ? requestAnimationFrame(next) : done());
        requestAnimationFrame(next);
    });
    return frames / ((performance.now() - begun) / 1000);
}"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the repository, and the bundles under /bundles/."""

    bundles = Path()

    def translate_path(self, path: str) -> str:
        if path.startswith("/bundles/"):
            return str(self.bundles / path.removeprefix("/bundles/"))
        return super().translate_path(path)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@contextmanager
def served(bundles: Path) -> Iterator[str]:
    handler = type("Served", (Handler,), {"bundles": bundles})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def inputs_of(bundle: Bundle) -> Arrays:
    """Spikes for a network, a constant drive for a neuron, and noise."""
    rng, inputs = np.random.default_rng(SEED), {}
    for spec in bundle.contract.inputs:
        x = rng.random((STEPS, *spec.shape(batch=1)), np.float32)
        inputs[spec.name] = x if spec.role == "noise" else 25 * x if spec.name == "x" else (x < RATE).astype(np.float32)
    return inputs


def compare(browser: Browser, address: str, bundle: Bundle, rounds: int) -> dict[str, float]:
    """Microseconds a step of each contender."""
    inputs = inputs_of(bundle)
    write_tensors(bundle.path / "run.safetensors", inputs)
    runtime, start = find_runtime("c")(bundle), bundle.initial_state()
    page = browser.new_page()
    page.goto(f"{address}benchmarks/web.html")
    page.wait_for_function("window.ready")
    page.evaluate("(folder) => window.prepare(folder)", f"/bundles/{bundle.path.name}")
    seconds: dict[str, list[float]] = {name: [] for name in (*CONTENDERS, NATIVE)}
    spikes = set()
    for turn in range(rounds + 1):
        for name in CONTENDERS:
            measured: dict[str, Any] = page.evaluate("(name) => window.measure(name)", name)
            seconds[name].append(measured["seconds"])
            spikes.add(int(measured["spikes"]))
        begun = time.perf_counter()
        runtime.start(start)
        outputs = runtime.run(inputs)
        seconds[NATIVE].append(time.perf_counter() - begun)
        spikes.add(sum(int(array.sum()) for array in outputs.values()))
        if turn == 0:  # a warm-up
            for times in seconds.values():
                times.clear()
    page.close()
    if len(spikes) != 1:
        sys.exit(f"{bundle.name}: the contenders differ in their spikes: {sorted(spikes)}")
    return {name: statistics.median(times) / STEPS * 1e6 for name, times in seconds.items()}


def frames(browser: Browser, address: str, folder: Path) -> float:
    """Frames a second of the page with ``DRAWN`` neurons, all of them driven."""
    bundle = export_model("lif", {"n": DRAWN}, folder / "drawn", formats=["wasm"], golden_steps=10)
    write_site(bundle, folder / "site")
    page = browser.new_page()
    page.goto(f"{address}bundles/site/index.html")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("button", name="Pause").wait_for()
    found: float = page.evaluate(FRAMES)
    page.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--neurons", default="100,400")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chromium = which("chromium-headless-shell") or which("chromium")
    if chromium is None or not (ROOT / "serve" / "web" / "node_modules" / "onnxruntime-web").is_dir():
        sys.exit("needs chromium-headless-shell (apt-get), and npm install in serve/web")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright, served(Path(name)) as address:
        folder, browser = Path(name), playwright.chromium.launch(executable_path=chromium)
        formats = ["wasm", "c", "onnx"]
        bundles = {"lif, 100": export_model("lif", {"n": 100}, folder / "lif", formats=formats, golden_steps=0)}
        for n in map(int, options.neurons.split(",")):
            keywords = {"n": n, "n_input": N_INPUT}
            bundles[f"Diehl & Cook, {N_INPUT} -> {n}"] = export_model(
                str(ROOT / "models" / "diehl_cook_2015.py"),
                keywords,
                folder / f"dc{n}",
                formats=formats,
                golden_steps=0,
                snap=SNAP,
            )
        for title, bundle in bundles.items():
            results[title] = costs = compare(browser, address, bundle, options.rounds)
            rows = [[key, micros(cost), f"{cost / costs[NATIVE]:.2f}"] for key, cost in costs.items()]
            Table(f"{title}, {STEPS} steps", ["", "µs a step", f"{NATIVE} = 1"], rows).show(console())
        results["frames a second"] = frames(browser, address, folder)
        print(f"{results['frames a second']:.1f} frames a second with {DRAWN} neurons drawn")
        browser.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
