"""Diehl & Cook's network, 784 -> N, in BindsNET and in our runtimes: the same weights and input, one thread, one run.

``python benchmarks/networks.py [--sizes 100,400,1600] [--batches 1,32] [--rounds 5] [--markdown FILE]``
"""

import argparse
import gc
import importlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from bindsnet_peer import bindsnet_nodes
from rich.console import Console
from tables import Table, micros

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.network import Dense, Network
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Arrays

MODEL = Path(__file__).parent.parent / "models" / "diehl_cook_2015.py"
STEPS, N_INPUT, RATE, SEED = 250, 784, 0.05, 0
Run = Callable[[], object]


def bindsnet_network(n: int, batch: int, w: torch.Tensor) -> Any:
    """The same network in BindsNET. It uses matrices where our network has one-to-one and summing connections."""
    bindsnet_nodes()  # for its error, and so that the package's heavy top level is never run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Peer = importlib.import_module("bindsnet.network").Network  # noqa: N806
        nodes, topology = map(importlib.import_module, ("bindsnet.network.nodes", "bindsnet.network.topology"))

        peer = Peer(dt=1.0, batch_size=batch)
        peer.add_layer(nodes.Input(n=N_INPUT), "X")
        exc = nodes.DiehlAndCookNodes(n=n, thresh=-52.0, rest=-65.0, reset=-60.0, refrac=5, tc_decay=100.0, theta_plus=0.05)
        inh = nodes.LIFNodes(n=n, thresh=-40.0, rest=-60.0, reset=-45.0, refrac=2, tc_decay=10.0)
        peer.add_layer(exc, "exc")
        peer.add_layer(inh, "inh")
        peer.add_connection(topology.Connection(peer.layers["X"], exc, w=w.clone()), "X", "exc")
        peer.add_connection(topology.Connection(exc, inh, w=22.5 * torch.eye(n)), "exc", "inh")
        peer.add_connection(topology.Connection(inh, exc, w=-17.5 * (torch.ones(n, n) - torch.eye(n))), "inh", "exc")
        peer.train(False)
    return peer


def bindsnet_run(n: int, batch: int, w: torch.Tensor, inputs: torch.Tensor) -> Run:
    """``Network.run`` of the same network."""
    peer = bindsnet_network(n, batch, w)
    inputs = inputs.clone()  # a reset of BindsNET's zeroes the last step of its input

    def run() -> object:
        peer.reset_state_variables()
        return peer.run(inputs={"X": inputs}, time=STEPS)

    return run


def sequence_run(name: str, bundle: Bundle, inputs: Arrays, batch: int) -> Run:
    """One of our runtimes, all steps in one call."""
    runtime, start = find_runtime(name)(bundle), bundle.initial_state(batch)

    def run() -> object:
        runtime.start(start)
        return runtime.run(inputs)

    return run


def step_run(name: str, bundle: Bundle, inputs: Arrays, batch: int) -> Run:
    """One of our runtimes, step by step from Python."""
    runtime, start = find_runtime(name)(bundle), bundle.initial_state(batch)
    steps = [{key: value[step] for key, value in inputs.items()} for step in range(STEPS)]

    def run() -> object:
        runtime.start(start)
        return [runtime.step(now) for now in steps]

    return run


def floor_run(w: torch.Tensor, inputs: torch.Tensor) -> Run:
    """The one large product over all steps, and nothing else: what no runtime can do without."""
    flat = inputs.flatten(0, 1)
    return lambda: flat @ w


def contenders(n: int, batch: int, folder: Path) -> dict[str, Run]:
    """Everything that can run one case, with the same weights and the same input."""
    bundle = export_model(str(MODEL), {"n": n, "n_input": N_INPUT}, folder / "bundle", golden_steps=2, seed=SEED)
    network = reference_program(bundle)
    assert isinstance(network, Network)
    dense = network.connections[0]
    assert isinstance(dense, Dense)
    rng = np.random.default_rng(SEED)
    spikes = (rng.random((STEPS, batch, N_INPUT)) < RATE).astype(np.float32)
    inputs = {"X.x": spikes, "exc.noise": rng.random((STEPS, batch, n), np.float32)}
    tensor = torch.from_numpy(spikes)
    return {
        "BindsNET Network.run": bindsnet_run(n, batch, dense.w, tensor),
        "onnxruntime-cpu sequence": sequence_run("onnxruntime-cpu", bundle, inputs, batch),
        "onnxruntime-cpu step": step_run("onnxruntime-cpu", bundle, inputs, batch),
        "TorchScript rollout": sequence_run("torchscript", bundle, inputs, batch),
        "pt2 sequence": sequence_run("pt2", bundle, inputs, batch),
        "eager rollout": sequence_run("eager", bundle, inputs, batch),
        "floor: the product alone": floor_run(dense.w, tensor),
    }


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Microseconds per step for each round. Contenders alternate in each round, to share the noise."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            gc.collect()
            begun = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begun) / STEPS * 1e6)
    return times


def case(n: int, batch: int, rounds: int) -> Table:
    """One size at one batch."""
    with tempfile.TemporaryDirectory() as folder:
        times = measure(contenders(n, batch, Path(folder)), rounds)
    peer = statistics.median(times["BindsNET Network.run"])
    rows = []
    for name, values in times.items():
        median = statistics.median(values)
        rows.append([name, micros(median), f"{micros(min(values))} to {micros(max(values))}", f"{peer / median:.1f}"])
    return Table(f"784 -> {n}, batch {batch}", ["", "µs a step", "min to max", "times BindsNET"], rows)


def growth(n: int, rounds: int) -> Table:
    """How the time of a step falls with the length of a sequence, as what is done once a call is shared by more steps."""
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_model(str(MODEL), {"n": n, "n_input": N_INPUT}, Path(folder) / "bundle", golden_steps=2, seed=SEED)
        rows = []
        for steps in (1, 10, 100, 1000):
            spikes = (rng.random((steps, 1, N_INPUT)) < RATE).astype(np.float32)
            run = sequence_run(
                "onnxruntime-cpu", bundle, {"X.x": spikes, "exc.noise": rng.random((steps, 1, n), np.float32)}, 1
            )
            run()
            times = []
            for _ in range(rounds * max(1, 1000 // steps)):
                begun = time.perf_counter()
                run()
                times.append((time.perf_counter() - begun) / steps * 1e6)
            rows.append([f"T = {steps}", micros(statistics.median(times)), f"{micros(min(times))} to {micros(max(times))}"])
    return Table(f"784 -> {n}, batch 1, onnxruntime-cpu sequence", ["", "µs a step", "min to max"], rows)


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,400,1600")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    versions = f"BindsNET {version('bindsnet')}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    console.print(f"{versions}; {STEPS} steps")
    made = []
    for n in map(int, options.sizes.split(",")):
        for batch in map(int, options.batches.split(",")):
            made.append(case(n, batch, options.rounds))
            made[-1].show(console)
    made.append(growth(400, options.rounds))
    made[-1].show(console)
    if options.markdown:
        options.markdown.write_text("\n".join(table.markdown() for table in made))


if __name__ == "__main__":
    main()
