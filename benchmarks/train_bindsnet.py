"""Train BindsNET's own networks on scikit-learn's digits, by BindsNET itself, and save them with ``Network.save``.

``python benchmarks/train_bindsnet.py FOLDER [--sizes 400] [--digits 1000] [--steps 250]`` writes, for each network,
``NAME.pt`` and ``NAME-labels.safetensors``, which says what digit each neuron stands for.
"""

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from bindsnet_peer import bindsnet_nodes
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor

N_INPUT, N_LABELS, MOST_SPIKES, SEED = 64, 10, 0.5, 0
TEST = 100
"""Digits that are kept aside, the last ones."""


def part(name: str) -> ModuleType:
    """A module of BindsNET's, without its package's heavy top level."""
    bindsnet_nodes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("bindsnet.network")  # first, as its parts import each other
        return importlib.import_module(f"bindsnet.{name}")


def two_layers(n: int) -> Any:
    """Input and LIF neurons."""
    return part("models").TwoLayerNetwork(N_INPUT, n, norm=12.0, nu=(0.0, 1e-5))


def diehl_and_cook(n: int) -> Any:
    """Input, excitatory and inhibitory neurons, of which one a step wins."""
    return part("models").DiehlAndCook2015(N_INPUT, n_neurons=n, norm=8.0, nu=(1e-4, 1e-2), theta_plus=0.1)


NETWORKS: dict[str, tuple[Callable[[int], Any], str]] = {
    "two_layers": (two_layers, "Y"),
    "diehl_and_cook": (diehl_and_cook, "Ae"),
}
"""By name: how to build it, and the layer whose neurons stand for digits."""


def digits() -> tuple[Tensor, Tensor]:
    """Pixels ``[1797, 64]`` between 0 and 1, and labels; the last ``TEST`` are for testing."""
    loaded = load_digits()
    return torch.from_numpy(loaded.data / 16).float(), torch.from_numpy(loaded.target)


def encoded(pixels: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Spikes ``[steps, 1, 64]``, each pixel's with a chance of its own in every step."""
    return (torch.rand(steps, 1, N_INPUT, generator=generator) < MOST_SPIKES * pixels).float()


def counts(network: Any, layer: str, spikes: Tensor) -> Tensor:
    """Show one digit, from rest, and count each neuron's spikes ``[N]``."""
    network.reset_state_variables()
    watch = part("network.monitors").Monitor(network.layers[layer], ["s"], time=len(spikes))
    network.add_monitor(watch, "watch")
    network.run({"X": spikes}, time=len(spikes))
    del network.monitors["watch"]
    return watch.get("s").reshape(len(spikes), -1).sum(0).float()


def train(name: str, n: int, shown: int, steps: int) -> tuple[Any, dict[str, Tensor], float]:
    """Train a network. Returns it with its labels and its accuracy on the test digits."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    build, layer = NETWORKS[name]
    network, evaluation = build(n), part("evaluation")
    pixels, labels = digits()
    order = torch.randperm(len(pixels) - TEST, generator=generator)[:shown]
    for index in order.tolist():
        counts(network, layer, encoded(pixels[index], steps, generator))
    network.train(False)
    seen = torch.stack([counts(network, layer, encoded(pixels[i], steps, generator)) for i in order.tolist()]).unsqueeze(1)
    assignments, proportions, _ = evaluation.assign_labels(seen, labels[order], N_LABELS)
    aside = range(len(pixels) - TEST, len(pixels))
    told = torch.stack([counts(network, layer, encoded(pixels[i], steps, generator)) for i in aside]).unsqueeze(1)
    predicted = evaluation.proportion_weighting(told, assignments, proportions, N_LABELS)
    accuracy = float((predicted == labels[-TEST:]).float().mean())
    network.reset_state_variables()
    return network, {f"{layer}.assignments": assignments, f"{layer}.proportions": proportions}, accuracy


def main() -> None:
    """Train every network and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--digits", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.networks.split(","):
        begun = time.perf_counter()
        network, labels, accuracy = train(name, options.size, options.digits, options.steps)
        network.save(str(options.folder / f"{name}.pt"))
        save_file(labels, options.folder / f"{name}-labels.safetensors")
        sys.stdout.write(
            f"{name}, N = {options.size}: {accuracy:.0%} of {TEST} digits after {options.digits}, "
            f"{time.perf_counter() - begun:.0f} s\n"
        )


if __name__ == "__main__":
    main()
