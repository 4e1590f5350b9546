"""Restarts of a stimulus: a run of the reference whose state is changed at intervals."""

from collections.abc import Callable

import torch

from deploy_snn.bundle.trace import at
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.parity.stimulus import Request
from deploy_snn.tensors import Arrays

RESTART_EVERY = 4
"""The number of steps between two changes of the state."""


def restarts_along(request: Request, inputs: Arrays, change: Callable[[Arrays], Arrays]) -> dict[int, Arrays]:
    """Step the program over ``inputs`` and change its state every few steps, the first time before step 0.

    ``change`` returns a new state for a state, and changes none of its arrays. Returns the changed states by step.
    """
    program = request.program
    restarts: dict[int, Arrays] = {}
    state = to_numpy(program.initial_state(request.batch))
    for step in range(request.steps):
        if step % RESTART_EVERY == 0:
            restarts[step] = state = change(state)
        with torch.no_grad():
            state = to_numpy(program(to_torch(at(inputs, step)), to_torch(state))[1])
    return restarts
