"""Networks that BindsNET trained, in BindsNET and imported, in our runtimes: time to classify a digit, and accuracy.

``python benchmarks/imported.py FOLDER [--rounds 5] [--markdown FILE]``, where ``train_bindsnet.py FOLDER`` has been before.
All get the same spikes; labels are compared with the same draws, and with weights on a grid of 2**-12 in BindsNET too,
so that sums have the same bits in every order.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from tables import Table
from torch import Tensor
from train_bindsnet import MOST_SPIKES, N_INPUT, N_LABELS, NETWORKS, TEST, digits, part

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Array, Arrays

STEPS, BITS, SEED = 250, 12, 0
RUNTIMES = ("onnxruntime-cpu", "torchscript", "pt2", "eager")
Run = Callable[[Arrays], dict[str, Array]]
"""Inputs ``[STEPS, B, ...]`` to the spikes of each layer, ``[STEPS, B, N]``."""


class Draws:
    """Stands for torch inside BindsNET's nodes: of each row's candidates, the one with the most noise wins."""

    def __init__(self, layer: Any, noise: Iterator[Array]) -> None:
        self.layer = layer
        self.noise = noise

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def multinomial(self, weights: Tensor, _draws: int) -> Tensor:
        rows = self.layer.s.flatten(1).any(1)
        return torch.where(weights > 0, self.now[rows], -1.0).argmax(1, keepdim=True)

    def step(self, x: Tensor) -> None:
        self.now = torch.from_numpy(next(self.noise))
        type(self.layer).forward(self.layer, x)


@contextmanager
def given_draws(network: Any, inputs: Arrays) -> Iterator[None]:
    """BindsNET draws what the noise implies, if its network draws at all."""
    module = sys.modules["bindsnet.network.nodes"]
    drawing = [name.removesuffix(".noise") for name in inputs if name.endswith(".noise")]
    for name in drawing:
        module.torch = draws = Draws(network.layers[name], iter(inputs[f"{name}.noise"]))
        network.layers[name].forward = draws.step
    try:
        yield
    finally:
        module.torch = torch
        for name in drawing:
            del network.layers[name].forward


def load_trained(path: Path) -> Any:
    """A network of our own training, with its weights on the grid."""
    part("models")
    network = torch.load(path, weights_only=False)
    for connection in network.connections.values():
        for tensor in [f.value for f in getattr(connection, "pipeline", [])] or [connection.w]:
            tensor.data.copy_(torch.round(tensor.data * 2.0**BITS) / 2.0**BITS)
        connection.norm = None
        for feature in getattr(connection, "pipeline", []):
            feature.norm = None  # so that a second run has the same weights
    return network


def bindsnet_run(network: Any, layer: str) -> Run:
    """BindsNET's ``Network.run``, from rest, with a monitor of the one layer whose spikes are counted."""
    monitors = part("network.monitors")

    def run(inputs: Arrays) -> dict[str, Array]:
        network.reset_state_variables()
        watch = monitors.Monitor(network.layers[layer], ["s"], time=STEPS)
        network.add_monitor(watch, layer)
        network.run({"X": torch.from_numpy(inputs["X.x"])}, time=STEPS)
        network.monitors.clear()
        return {f"{layer}.s": watch.get("s").bool().reshape(STEPS, inputs["X.x"].shape[1], -1).numpy()}

    return run


def runtime_run(name: str, bundle: Bundle) -> Run:
    """One of our runtimes, all steps in one call."""
    runtime = find_runtime(name)(bundle)

    def run(inputs: Arrays) -> dict[str, Array]:
        runtime.start(bundle.initial_state(inputs["X.x"].shape[1]))
        return runtime.run(inputs)

    return run


@dataclass(frozen=True)
class Case:
    """One trained network, and everything that can run it."""

    network: Any
    readout: Readout
    runs: dict[str, Run]
    inputs: Arrays
    """Those of the test digits, a row each."""
    labels: Array

    def one(self, row: int) -> Arrays:
        return {name: np.ascontiguousarray(values[:, row : row + 1]) for name, values in self.inputs.items()}


def make_case(name: str, folder: Path, made: Path) -> Case:
    """Load and import a network, and draw its input."""
    file, labels = folder / f"{name}.pt", folder / f"{name}-labels.safetensors"
    bundle = export_model(str(file), {}, made / name, golden_steps=2, snap=BITS, labels=labels)
    assert bundle.manifest.readout is not None
    pixels, wanted = (tensor[-TEST:].numpy() for tensor in digits())
    rng = np.random.default_rng(SEED)
    inputs = {"X.x": (rng.random((STEPS, TEST, N_INPUT)) < MOST_SPIKES * pixels).astype(np.float32)}
    for spec in bundle.contract.inputs:
        if spec.name not in inputs:
            inputs[spec.name] = rng.random((STEPS, *spec.shape(batch=TEST)), np.float32)
    network = load_trained(file)
    runs = {"BindsNET Network.run": bindsnet_run(network, bundle.manifest.readout.layer)} | {
        f"{runtime} sequence": runtime_run(runtime, bundle) for runtime in RUNTIMES
    }
    return Case(network, bundle.manifest.readout, runs, inputs, wanted)


def table(name: str, case: Case, rounds: int) -> Table:
    """Milliseconds per digit, and the accuracy of each contender."""
    with given_draws(case.network, case.inputs):
        told = {runner: run(case.inputs) for runner, run in case.runs.items()}
    output = case.readout.output
    peer, *_ = told.values()
    theirs = (
        part("evaluation")
        .proportion_weighting(
            torch.from_numpy(peer[output]).transpose(0, 1).float(),
            torch.tensor(case.readout.assignments),
            torch.tensor(case.readout.proportions),
            N_LABELS,
        )
        .numpy()
    )
    labels = {runner: vote(case.readout, spikes[output].sum(0)) for runner, spikes in told.items()}
    equal = {runner: int((spikes[output] != peer[output]).sum()) for runner, spikes in told.items()}
    times: dict[str, list[float]] = {runner: [] for runner in case.runs}
    digits_shown = [case.one(row) for row in range(5)]
    for _ in range(rounds):
        for runner, run in case.runs.items():
            run(digits_shown[0])  # BindsNET makes new states where the batch changes
            gc.collect()
            begun = time.perf_counter()
            for shown in digits_shown:
                run(shown)
            times[runner].append((time.perf_counter() - begun) / len(digits_shown) * 1e3)
    first = statistics.median(next(iter(times.values())))
    rows = [
        [
            runner,
            f"{statistics.median(values):.2f}",
            f"{min(values):.2f} to {max(values):.2f}",
            f"{first / statistics.median(values):.1f}",
            f"{(labels[runner] == case.labels).mean():.0%}",
            str(int((labels[runner] != theirs).sum())),
            str(equal[runner]),
        ]
        for runner, values in times.items()
    ]
    columns = ["", "ms a digit", "min to max", "times BindsNET", "right", "other labels", "other spikes"]
    return Table(f"{name}, 64 -> {len(case.readout.assignments)}, {STEPS} steps, {TEST} digits", columns, rows)


def main() -> None:
    """Measure every network of the folder and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    console.print(f"BindsNET {version('bindsnet')}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            made.append(table(name, make_case(name, options.folder, Path(folder)), options.rounds))
            made[-1].show(console)
    if options.markdown:
        options.markdown.write_text("\n".join(one.markdown() for one in made))


if __name__ == "__main__":
    main()
