"""Learn scikit-learn's digits from nothing, on one runtime: train by STDP, label the neurons, classify other digits.

``python docs/examples/learn_digits.py RUNTIME BUNDLE [--digits 800] [--neurons 100]`` trains on RUNTIME, ``c`` or
``onnxruntime-cpu``, and writes the network with constant weights as BUNDLE. The same seed gives the same spikes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from deploy_snn import export, load_model, open_bundle
from deploy_snn.api import export_loaded
from deploy_snn.learnt import learnt_model

STEPS, RATE, LASTING = 250, 0.25, ("X_to_exc.w", "exc.theta")


def network(neurons):
    """The network of Diehl & Cook (2015), with rates for 64 inputs and few digits."""
    torch.manual_seed(0)
    model = load_model("models/diehl_cook_2015.py", n=neurons, n_input=64, plastic=True)
    model.layers["exc"].neuron.theta_plus.fill_(0.4)
    rule = model.connections[0].rule
    rule.norm.fill_(8.0)
    rule.nu.copy_(torch.tensor([1e-4, 4e-2]))
    return model


def spikes(pixels, neurons, rng):
    """Pixels ``[B, 64]`` as random spikes ``[T, B, 64]``, and the noise that decides between neurons that fire together."""
    x = rng.random((STEPS, *pixels.shape), np.float32) < RATE * pixels
    return {"X.x": x.astype(np.float32), "exc.noise": rng.random((STEPS, len(pixels), neurons), np.float32)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime")
    parser.add_argument("bundle")
    parser.add_argument("--digits", type=int, default=800)
    parser.add_argument("--neurons", type=int, default=100)
    options = parser.parse_args()
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    shown, tested = slice(0, options.digits), slice(options.digits, options.digits + 400)

    with tempfile.TemporaryDirectory() as folder:
        plastic = export(network(options.neurons), Path(folder) / "plastic", formats=["onnx", "c"], golden_steps=0)
        session, rng, begin = plastic.session(options.runtime), np.random.default_rng(0), time.perf_counter()
        for image in pixels[shown]:
            session.run(spikes(image[None], options.neurons, rng))
            session.normalise()
            learnt = session.state
            session.state = plastic.initial_state() | {name: learnt[name] for name in LASTING}
        seconds = time.perf_counter() - begin
        export_loaded(learnt_model(plastic, session.state, learning=False), Path(options.bundle), golden_steps=0)

    rng = np.random.default_rng(1)
    frozen = open_bundle(options.bundle)

    def counts(part):
        """The number of spikes of each neuron for each digit, ``[B, N]``. Weights and thresholds are constants now."""
        run = frozen.session(options.runtime, batch=len(pixels[part]))
        return run.run(spikes(pixels[part], options.neurons, rng))["exc.s"].sum(0)

    seen = counts(shown)
    responds_to = np.stack([seen[labels[shown] == digit].mean(0) for digit in range(10)]).argmax(0)
    other = counts(tested)
    votes = np.stack([other[:, responds_to == digit].mean(1) for digit in range(10)], axis=1)
    accuracy = (np.nan_to_num(votes).argmax(1) == labels[tested]).mean()
    print(f"{options.runtime}: {accuracy:.1%} of 400 other digits named correctly, after {seconds:.1f} s of training")


if __name__ == "__main__":
    main()
