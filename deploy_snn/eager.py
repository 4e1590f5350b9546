"""Eager torch on numpy arrays: the reference run of every comparison."""

from collections.abc import Mapping

import numpy as np
import torch

from deploy_snn.bundle.trace import Trace, at
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays


def to_torch(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Copy arrays to tensors."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def to_numpy(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Return tensors as arrays. On the CPU the arrays share the tensors' memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def record(program: Program, inputs: Arrays, start: Arrays) -> Trace:
    """Run a program in eager torch over input sequences ``[T, B, ...]`` from the state ``start``, and record it."""
    outputs: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.outputs}
    states: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.states}
    state = to_torch(start)
    with torch.no_grad():
        for step in range(len(next(iter(inputs.values())))):
            step_outputs, state = program(to_torch(at(inputs, step)), state)
            for series, tensors in ((outputs, step_outputs), (states, state)):
                for name, array in to_numpy(tensors).items():
                    series[name].append(array)
    return Trace(start, inputs, _stack(outputs), _stack(states))


def _stack(series: Mapping[str, list[Array]]) -> Arrays:
    return {name: np.stack(arrays) for name, arrays in series.items()}
