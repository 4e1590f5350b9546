"""Train the network of Diehl & Cook on scikit-learn's digits, without labels, and write it as a bundle.

``python serve/web/train_digits.py BUNDLE [--neurons 256] [--epochs 1]``. STDP learns from the spikes alone. The labels are
read only afterwards, to say which digit each neuron responds to most. ``--choose`` writes no bundle: it compares numbers
for the training on a part of the training digits, and never reads the test digits.
"""

import argparse
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from deploy_snn import export, load_model
from deploy_snn.api import export_loaded
from deploy_snn.bundle import Bundle, GoldenRecord, Trace
from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.contract import Role
from deploy_snn.eager import record, to_numpy
from deploy_snn.formats import write_bundle
from deploy_snn.formats.writer import Extras
from deploy_snn.importers import Loaded
from deploy_snn.learnt import LEARNT, learnt_model
from deploy_snn.network import Network
from deploy_snn.parity.golden import GOLDEN_BATCH
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays, write_tensors

MODEL = Path(__file__).parents[2] / "models" / "diehl_cook_2015.py"
N_INPUT, N_LABELS, LAYER = 64, 10, "exc"
STEPS = 250
"""Steps of a digit."""
MOST_SPIKES = 0.25
"""The chance that the brightest pixel spikes in a step."""
TEST = 297
"""Digits that are kept aside, the last ones: other people wrote them."""
VALIDATION = 300
"""Digits of the others, also the last ones, with which ``--choose`` compares."""
CHOICES = tuple(itertools.product((8.0,), (0.1, 0.2, 0.4), ((1e-4, 1e-2), (1e-4, 2e-2), (1e-4, 4e-2))))
"""The norms, rises of the thresholds and rates that ``--choose`` tries."""
CHOICE_SEEDS = (0, 1)
SNAP_BITS = 12
GOLDEN_STEPS, GOLDEN_RATE = 12, 0.9
"""The golden trace is short, to be small, and so its drive is strong: neurons spike in it."""
SEED = 0


@dataclass(frozen=True)
class Numbers:
    """The sum of a neuron's weights, the rise of a threshold in mV, and STDP's rates, as ``--choose`` found them best."""

    neurons: int = 256
    epochs: int = 1
    norm: float = 8.0
    theta_plus: float = 0.1
    rates: tuple[float, float] = (1e-4, 2e-2)


@dataclass(frozen=True)
class Digits:
    """Pictures ``[B, 64]`` with values from 0 to 1, and their labels ``[B]``."""

    pixels: Array
    labels: Array

    def part(self, where: slice) -> "Digits":
        return Digits(self.pixels[where], self.labels[where])


def untrained(numbers: Numbers) -> Network:
    """The network of the paper, with other numbers."""
    network = load_model(MODEL, n=numbers.neurons, n_input=N_INPUT, plastic=True)
    assert isinstance(network, Network)
    network.layers[LAYER].neuron.theta_plus.fill_(numbers.theta_plus)
    connection = next(each for each in network.connections if each.plastic)
    connection.rule.norm.fill_(numbers.norm)
    connection.rule.nu.copy_(torch.tensor(numbers.rates))
    w = connection.initial_weights()
    w.mul_(numbers.norm / w.sum(0))
    return network


def encode(pixels: Array, rng: np.random.Generator) -> Arrays:
    """Random spikes and noise for some digits: pixels ``[B, 64]`` to inputs ``[T, B, ...]``."""
    return {"X.x": (rng.random((STEPS, *pixels.shape), np.float32) < MOST_SPIKES * pixels).astype(np.float32)}


def train(bundle: Bundle, pixels: Array, numbers: Numbers, rng: np.random.Generator) -> Arrays:
    """Show digits one after the other, and return the state after the last one."""
    session = bundle.session()
    lasting = {spec.name for spec in bundle.contract.states if spec.kind in LEARNT and spec.batch_axis is None}
    for _ in range(numbers.epochs):
        for index in rng.permutation(len(pixels)):
            noise = {f"{LAYER}.noise": rng.random((STEPS, 1, numbers.neurons), np.float32)}
            session.run(encode(pixels[index, None], rng) | noise)
            session.normalise()
            learnt = session.state
            session.state = bundle.initial_state() | {name: learnt[name] for name in lasting}
    return session.state


def responses(bundle: Bundle, pixels: Array, neurons: int, rng: np.random.Generator) -> Array:
    """The spike counts ``[B, N]`` of every digit, each from rest."""
    session = bundle.session("c", batch=len(pixels))
    noise = {f"{LAYER}.noise": rng.random((STEPS, len(pixels), neurons), np.float32)}
    return session.run(encode(pixels, rng) | noise)[f"{LAYER}.s"].sum(0)


def assign(counts: Array, labels: Array) -> dict[str, Array]:
    """The label that each neuron responds to most, and the share of each label in its activity."""
    rates = np.stack([counts[labels == label].mean(0) for label in range(N_LABELS)], axis=1).astype(np.float32)
    activity = rates.sum(1, keepdims=True)
    assignments = np.where(activity[:, 0] > 0, rates.argmax(1), -1).astype(np.int64)
    proportions = np.divide(rates, activity, out=np.zeros_like(rates), where=activity > 0)
    return {f"{LAYER}.assignments": assignments, f"{LAYER}.proportions": proportions}


def golden(program: Program, rng: np.random.Generator) -> tuple[Trace, GoldenRecord]:
    """A short run with so many input spikes that neurons fire."""
    shape = (GOLDEN_STEPS, GOLDEN_BATCH)
    spikes = (rng.random((*shape, N_INPUT), np.float32) < GOLDEN_RATE).astype(np.float32)
    neurons = next(spec for spec in program.contract.inputs if spec.role is Role.NOISE).axes[-1].size
    inputs = {"X.x": spikes, f"{LAYER}.noise": rng.random((*shape, neurons or 0), np.float32)}
    trace = record(program, inputs, to_numpy(program.initial_state(GOLDEN_BATCH)))
    if not all(array.any() for array in trace.spikes):
        raise RuntimeError("a layer does not spike in the golden trace")
    return trace, GoldenRecord(stimulus="strong spikes", steps=GOLDEN_STEPS, batch=GOLDEN_BATCH, seed=SEED)


def trained(shown: Digits, aside: Digits, numbers: Numbers, rng: np.random.Generator) -> tuple[Loaded, Readout, float]:
    """Train on ``shown``, and name the neurons with its labels. Return what share of ``aside`` is then named correctly."""
    neurons = numbers.neurons
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plastic = export(untrained(numbers), folder / "plastic", formats=["onnx"], golden_steps=0)
        state = train(plastic, shown.pixels, numbers, rng)
        fixed = learnt_model(plastic, state, learning=False)
        bare = export_loaded(fixed, folder / "fixed", formats=["c"], golden_steps=0, snap_bits=SNAP_BITS)
        counts = responses(bare, shown.pixels, neurons, rng)
        write_tensors(folder / "labels.safetensors", assign(counts, shown.labels))
        readout = Readout.read(folder / "labels.safetensors", bare.contract.outputs)
        predicted = vote(readout, responses(bare, aside.pixels, neurons, rng))
    return fixed, readout, float((predicted == aside.labels).mean())


def seeded(seed: int) -> np.random.Generator:
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def choose(shown: Digits, neurons: int, epochs: int) -> None:
    """Print how each choice of numbers does on a part of the training digits."""
    first, last = shown.part(slice(-VALIDATION)), shown.part(slice(-VALIDATION, None))
    for choice in CHOICES:
        numbers = Numbers(neurons, epochs, *choice)
        found = [trained(first, last, numbers, seeded(seed))[2] for seed in CHOICE_SEEDS]
        each = ", ".join(f"{accuracy:.1%}" for accuracy in found)
        print(f"{numbers}: {np.mean(found):.1%} of {VALIDATION} training digits that it had not seen ({each})", flush=True)


def main() -> None:
    """Train, find the digit that each neuron responds to, test, and write the bundle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--neurons", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="compare numbers for the training, and write no bundle")
    options = parser.parse_args()
    if (options.bundle is None) != options.choose:
        parser.error("give either BUNDLE or --choose")
    begun = time.perf_counter()
    torch.set_num_threads(1)
    loaded = load_digits()
    digits = Digits((loaded.data / 16).astype(np.float32), loaded.target)
    shown, aside = digits.part(slice(-TEST)), digits.part(slice(-TEST, None))
    if options.choose:
        choose(shown, options.neurons, options.epochs)
        return
    rng = seeded(SEED)
    fixed, readout, accuracy = trained(shown, aside, Numbers(options.neurons, options.epochs), rng)
    extras = Extras(golden(fixed.program, rng), readout=readout)
    bundle = write_bundle(options.bundle, fixed.program, fixed.source, ["wasm", "c", "onnx"], extras)
    print(
        f"{bundle.path}: {accuracy:.1%} of {TEST} digits that it had not seen, after {options.epochs} rounds through the "
        f"{len(shown.labels)} others, in {time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
