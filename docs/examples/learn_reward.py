"""Learn from a reward alone: which of two neurons shall answer which of two patterns.

``python docs/examples/learn_reward.py RUNTIME`` shows two patterns in turn. The reward of a step is 1 for each spike of the
right neuron and -1 for each of the wrong one, in the step before. Nothing else tells the network what is right.
"""

import sys

import numpy as np
import torch

from deploy_snn import export
from deploy_snn.learning import MSTDP
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes

HALF, SAMPLES, STEPS = 20, 200, 50


def network():
    torch.manual_seed(0)
    model = Network()
    model.add_layer(Input(n=2 * HALF), "X")
    model.add_layer(LIFNodes(n=2, refrac=0), "Y")
    rule = MSTDP(nu=0.003, wmin=0.0, wmax=4.0)
    model.add_connection(Dense(1.5 + torch.rand(2 * HALF, 2), rule=rule), "X", "Y")
    return model


def main():
    bundle = export(network(), "bundles/reward", formats=["onnx", "c"], golden_steps=0)
    session, rng = bundle.session(sys.argv[1]), np.random.default_rng(0)
    right = []
    for sample in range(SAMPLES):
        pattern = sample % 2
        chance = np.zeros(2 * HALF)
        chance[pattern * HALF : (pattern + 1) * HALF] = 0.2
        spikes, counts = np.zeros(2), np.zeros(2)
        for _ in range(STEPS):
            reward = spikes[pattern] - spikes[1 - pattern]
            x = (rng.random((1, 2 * HALF)) < chance).astype(np.float32)
            spikes = session.step({"X.x": x, "reward": np.array([reward], np.float32)})["Y.s"][0].astype(float)
            counts += spikes
        right.append(counts[pattern] > counts[1 - pattern])
        weights = session.state["X_to_Y.w"]
        session.state = bundle.initial_state() | {"X_to_Y.w": weights}
    first, last = np.mean(right[:20]), np.mean(right[-100:])
    print(f"{sys.argv[1]}: right in the first 20 samples: {first:.0%}; in the last 100: {last:.0%}")


if __name__ == "__main__":
    main()
