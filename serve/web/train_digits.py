"""Train the network of Diehl & Cook on scikit-learn's digits, without labels, and write it as a bundle.

``python serve/web/train_digits.py BUNDLE [--neurons 256] [--epochs 1]``. STDP learns from the spikes alone. The labels are
read only afterwards, to say which digit each neuron responds to most.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from deploy_snn import export, load_model
from deploy_snn.api import export_loaded
from deploy_snn.bundle import Bundle
from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.learnt import LEARNT, learnt_model
from deploy_snn.tensors import Array, Arrays, write_tensors

MODEL = Path(__file__).parents[2] / "models" / "diehl_cook_2015.py"
N_INPUT, N_LABELS, LAYER = 64, 10, "exc"
STEPS = 250
"""Steps of a digit."""
MOST_SPIKES = 0.5
"""The chance that the brightest pixel spikes in a step."""
TEST = 297
"""Digits that are kept aside, the last ones: other people wrote them."""
SNAP_BITS = 12
GOLDEN_STEPS = 60
SEED = 0


def encode(pixels: Array, rng: np.random.Generator) -> Arrays:
    """Random spikes and noise for some digits: pixels ``[B, 64]`` to inputs ``[T, B, ...]``."""
    return {"X.x": (rng.random((STEPS, *pixels.shape), np.float32) < MOST_SPIKES * pixels).astype(np.float32)}


def train(bundle: Bundle, pixels: Array, neurons: int, epochs: int, rng: np.random.Generator) -> Arrays:
    """Show digits one after the other, and return the state after the last one."""
    session = bundle.session()
    lasting = {spec.name for spec in bundle.contract.states if spec.kind in LEARNT and spec.batch_axis is None}
    for _ in range(epochs):
        for index in rng.permutation(len(pixels)):
            noise = {f"{LAYER}.noise": rng.random((STEPS, 1, neurons), np.float32)}
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


def main() -> None:
    """Train, name the neurons, test, and write the bundle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--neurons", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    begun = time.perf_counter()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    loaded = load_digits()
    pixels, labels = (loaded.data / 16).astype(np.float32), loaded.target
    shown, aside = pixels[:-TEST], pixels[-TEST:]
    network = load_model(MODEL, n=options.neurons, n_input=N_INPUT, plastic=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plastic = export(network, folder / "plastic", formats=["onnx"], golden_steps=0)
        state = train(plastic, shown, options.neurons, options.epochs, rng)
        fixed = learnt_model(plastic, state, learning=False)
        bare = export_loaded(fixed, folder / "fixed", formats=["c"], golden_steps=0, snap_bits=SNAP_BITS)
        write_tensors(folder / "labels.safetensors", assign(responses(bare, shown, options.neurons, rng), labels[:-TEST]))
        readout = Readout.read(folder / "labels.safetensors", bare.contract.outputs)
        predicted = vote(readout, responses(bare, aside, options.neurons, rng))
        bundle = export_loaded(
            fixed,
            options.bundle,
            formats=["wasm", "c", "onnx"],
            golden_steps=GOLDEN_STEPS,
            snap_bits=SNAP_BITS,
            labels=folder / "labels.safetensors",
        )
    accuracy = float((predicted == labels[-TEST:]).mean())
    print(
        f"{bundle.path}: {accuracy:.1%} of {TEST} digits that it had not seen, after {options.epochs} rounds through the "
        f"{len(shown)} others, in {time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
