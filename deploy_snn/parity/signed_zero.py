"""The stimulus "signed-zero": the drives of "poisson" and the states, with random signs of all zeros.

-0.0 and 0.0 are equal, but not in every use: a comparison of bits, a division and a sign tell them apart. Libraries also
drop ``x + 0``, which turns -0.0 into 0.0. Parity counts the zeros of the other sign, and reports a spike that they change.
"""

import numpy as np
from numpy.random import Generator

from deploy_snn.contract import Role
from deploy_snn.parity.restarts import restarts_along
from deploy_snn.parity.stimulus import Request, Stimulus, from_pattern
from deploy_snn.tensors import Array


def signed_zero(request: Request) -> Stimulus:
    """Build the stimulus. Its remarks count the elements of drives and states that were set to -0.0.

    Noise keeps its values: it is drawn from [0, 1), and its sign has no meaning.
    """
    rng = request.rng()
    drives = from_pattern("poisson", request)
    noise = {spec.name for spec in request.contract.inputs if spec.role is Role.NOISE}
    inputs = {name: array if name in noise else with_signs(array, rng) for name, array in drives.inputs.items()}
    restarts = restarts_along(
        request, inputs, lambda state: {name: with_signs(array, rng) for name, array in state.items()}
    )
    count = sum(negative_zeros(array) for arrays in (inputs, *restarts.values()) for array in arrays.values())
    return Stimulus("signed-zero", inputs, restarts[0], {"-0.0": count}, restarts)


def with_signs(array: Array, rng: Generator) -> Array:
    """A copy in which each zero has a random sign. Only float tensors have signs of zeros."""
    if array.dtype.kind != "f":
        return array.copy()
    negative = (array == 0) & (rng.random(array.shape) < 0.5)
    return np.where(negative, array.dtype.type(-0.0), array)


def negative_zeros(array: Array) -> int:
    """The number of -0.0 in an array."""
    return int(((array == 0) & np.signbit(array)).sum()) if array.dtype.kind == "f" else 0
