"""The noise that a stochastic model takes as an input, drawn from a seed."""

import numpy as np

from deploy_snn.contract import Contract, Role
from deploy_snn.tensors import Arrays


def draw_noise(contract: Contract, inputs: Arrays, seed: int) -> Arrays:
    """Draw the noise inputs of a contract that ``inputs`` ``[T, B, ...]`` leaves out, uniform on [0, 1).

    Each input has a generator of its own, seeded with the seed and its name, so that it does not depend on the others. The
    first steps of a longer draw are those of a shorter one. Returns {} if nothing is missing, or if there is no input to
    take the number of steps and rows from.
    """
    given = [(spec, inputs[spec.name]) for spec in contract.inputs if spec.name in inputs]
    sizes = [array.shape[:2] for spec, array in given if array.ndim == len(spec.axes) + 1]
    if not sizes:
        return {}
    steps, batch = sizes[0]
    return {
        spec.name: np.random.default_rng([seed, *spec.name.encode()]).random((steps, *spec.shape(batch=batch)), np.float32)
        for spec in contract.inputs
        if spec.role is Role.NOISE and spec.name not in inputs
    }
