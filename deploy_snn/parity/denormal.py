"""The stimulus "denormal": states that decay towards 0 are set to numbers around the smallest normal float32.

Many libraries set denormal numbers to 0. A trace or a current reaches them only after hundreds of steps without spikes, so
that other stimuli never do. Parity counts the numbers that a runtime has flushed, and reports a spike that they change.
"""

import numpy as np

from deploy_snn.contract import Kind
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.restarts import restarts_along
from deploy_snn.parity.stimulus import Request, Stimulus, from_pattern
from deploy_snn.tensors import Arrays

DECAYING = frozenset({Kind.CURRENT, Kind.TRACE, Kind.THRESHOLD, Kind.ELIGIBILITY})
"""The kinds of states that decay towards 0. A potential decays towards its rest."""

EXPONENTS = (-146, -120)
"""The powers of two to draw from. Numbers below 2**-126 are denormal."""


def denormal(request: Request) -> Stimulus:
    """Build the stimulus, with the drives of "poisson". Its remarks count the elements that were set to a denormal number.

    Raises InvalidInput for a program without a state that decays to 0.
    """
    rng, count = request.rng(), 0
    names = [spec.name for spec in request.contract.states if spec.kind in DECAYING and spec.dtype == "float32"]
    if not names:
        raise InvalidInput("stimulus 'denormal': no state decays to 0; use another stimulus")
    drives = from_pattern("poisson", request)

    def set_denormals(state: Arrays) -> Arrays:
        nonlocal count
        changed = {name: array.copy() for name, array in state.items()}
        for name in names:
            small = np.exp2(rng.uniform(*EXPONENTS, state[name].shape)).astype(np.float32)
            chosen = rng.random(small.shape) < 0.5
            changed[name] = np.where(chosen, small, state[name])
            count += int((chosen & (small < np.finfo(np.float32).tiny)).sum())
        return changed

    restarts = restarts_along(request, drives.inputs, set_denormals)
    return Stimulus("denormal", drives.inputs, restarts[0], {"denormal": count}, restarts)
