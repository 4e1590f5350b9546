"""What a step of learning costs: BindsNET's training, and ours in eager torch, TorchScript, ONNX Runtime and C, in one run.

``python benchmarks/learning.py [--inputs 784] [--neurons 400] [--steps 250] [--rate 0.05] [--rounds 5] [--json FILE]``
trains BindsNET's DiehlAndCook2015 on the same spikes and draws in all of them, on one thread. The contenders take turns in
each round, and their times are medians over the rounds. It also says whether the learnt weights are equal to BindsNET's.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bindsnet_peer import Drawn, bindsnet_version
from tables import Table, micros
from torch import Tensor
from train_bindsnet import part

from deploy_snn import export
from deploy_snn.cli.table import console
from deploy_snn.importers import from_bindsnet
from deploy_snn.network import Network

LAYER = "Ae"
WEIGHTS = f"X_to_{LAYER}.w"
SEED = 0
FORMATS = {"eager": "onnx", "torchscript": "torchscript", "onnxruntime-cpu": "onnx", "c": "c"}
"""The runtimes, and the format that each needs."""
PEER = "BindsNET"


def train_peer(network: Any, spikes: Tensor, noise: Tensor) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """A function that runs one sample in BindsNET, with normalisation, and one that returns the weights."""
    nodes, layer = part("network.nodes"), network.layers[LAYER]
    forward, drawn = layer.forward, Drawn(noise)

    def step(x: Tensor) -> None:
        drawn.step += 1
        forward(x)

    def sample() -> None:
        drawn.step, nodes.torch = -1, drawn
        layer.forward = step
        try:
            network.run({"X": spikes.clone()}, time=len(spikes))
        finally:
            nodes.torch = torch
            layer.forward = forward

    def weights() -> Tensor:
        w: Tensor = network.connections["X", LAYER].pipeline[0].value  # looked up now: a step may replace it
        return w.detach()

    return sample, weights


def train_here(
    network: Network, runtime: str, folder: Path, spikes: Tensor, noise: Tensor
) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """A function that runs one sample on a runtime, with normalisation, and one that returns a copy of the weights."""
    bundle = export(network, folder / runtime, formats=[FORMATS[runtime]], golden_steps=0)
    session = bundle.session(runtime)
    inputs = {"X.x": spikes.numpy(), f"{LAYER}.noise": noise.numpy()}

    def sample() -> None:
        session.run(inputs)
        session.normalise()

    return sample, lambda: torch.from_numpy(session.state[WEIGHTS])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--neurons", type=int, default=400)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rate", type=float, default=0.05, help="the share of inputs that spike in a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    peer = part("models").DiehlAndCook2015(options.inputs, n_neurons=options.neurons, norm=0.1 * options.inputs)
    network = from_bindsnet(peer, plastic=True).network
    spikes = (torch.rand(options.steps, 1, options.inputs) < options.rate).float()
    noise = torch.rand(options.steps, 1, options.neurons)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {PEER: train_peer(peer, spikes, noise)} | {
            runtime: train_here(network, runtime, Path(folder), spikes, noise) for runtime in FORMATS
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, (sample, _) in contenders.items():
                begin = time.perf_counter()
                sample()
                seconds[name].append(time.perf_counter() - begin)
        weights = {name: read() for name, (_, read) in contenders.items()}
    medians = {name: median(times) / options.steps * 1e6 for name, times in seconds.items()}
    apart = {name: float((w - weights[PEER]).abs().max()) for name, w in weights.items()}
    title = (
        f"Diehl & Cook {options.inputs} -> {options.neurons}, batch 1, {options.rate:.0%} input, one thread, "
        f"BindsNET {bindsnet_version()}"
    )
    columns = ["", "µs a step", "times as fast as BindsNET", "largest difference of a weight"]
    rows = [[name, micros(cost), f"{medians[PEER] / cost:.2f}", f"{apart[name]:.3g}"] for name, cost in medians.items()]
    Table(title, columns, rows).show(console())
    if options.json:
        result = {"options": {k: str(v) for k, v in vars(options).items()}, "microseconds": medians, "apart": apart}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
