"""The stimulus "denormal": states that decay towards 0 are set to numbers around the smallest normal float32.

Many libraries set denormal numbers to 0. A trace or a current reaches them only after hundreds of steps without spikes, so
that other stimuli never do. Parity counts the numbers that a runtime has flushed, and reports a spike that they change.
"""

import numpy as np
import torch

from deploy_snn.bundle.trace import at
from deploy_snn.contract import Kind
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.stimulus import Request, Stimulus, from_pattern

DECAYING = frozenset({Kind.CURRENT, Kind.TRACE, Kind.THRESHOLD, Kind.ELIGIBILITY})
"""The kinds of states that decay towards 0. A potential decays towards its rest."""

EXPONENTS = (-146, -120)
"""The powers of two to draw from. Numbers below 2**-126 are denormal."""

RESTART_EVERY = 4
"""The number of steps between two states that are set."""


def denormal(request: Request) -> Stimulus:
    """Build the stimulus, with the drives of "poisson". Its remarks count the elements that were set to a denormal number.

    Raises InvalidInput for a program without a state that decays to 0.
    """
    rng, program = request.rng(), request.program
    names = [spec.name for spec in program.contract.states if spec.kind in DECAYING and spec.dtype == "float32"]
    if not names:
        raise InvalidInput("stimulus 'denormal': no state decays to 0; use another stimulus")
    drives = from_pattern("poisson", request)
    restarts = {}
    state, count = to_numpy(program.initial_state(request.batch)), 0
    for step in range(request.steps):
        if step % RESTART_EVERY == 0:
            state = {name: array.copy() for name, array in state.items()}
            for name in names:
                small = np.exp2(rng.uniform(*EXPONENTS, state[name].shape)).astype(np.float32)
                chosen = rng.random(small.shape) < 0.5
                state[name] = np.where(chosen, small, state[name])
                count += int((chosen & (small < np.finfo(np.float32).tiny)).sum())
            restarts[step] = state
        with torch.no_grad():
            state = to_numpy(program(to_torch(at(drives.inputs, step)), to_torch(state))[1])
    return Stimulus("denormal", drives.inputs, restarts[0], {"denormal": count}, restarts)
