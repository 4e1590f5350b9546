"""A recorded run of the reference. Unlike a golden trace, it may start anew from another state at some steps."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from deploy_snn.bundle.trace import Trace, at
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.parity.coverage import Coverage
from deploy_snn.parity.stimulus import Stimulus
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays


@dataclass(frozen=True)
class Recording(Trace):
    """A run of T steps. Before a step in ``restarts``, every runtime starts from the state given there."""

    restarts: Mapping[int, Arrays] = field(default_factory=dict)

    def state_before(self, step: int) -> Arrays:
        return self.restarts[step] if step in self.restarts else super().state_before(step)


def record_reference(program: Program, stimulus: Stimulus, coverage: Coverage | None = None) -> Recording:
    """Run eager torch on a stimulus and record it; ``coverage`` counts what the run exercised.

    The arrays are read-only, so that no runtime can change the reference.
    """
    outputs: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.outputs}
    states: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.states}
    state = to_torch(stimulus.start)
    with torch.no_grad():
        for step in range(stimulus.steps):
            if step in stimulus.restarts:
                state = to_torch(stimulus.restarts[step])
            inputs = to_torch(at(stimulus.inputs, step))
            with coverage.step(program, inputs, state) if coverage else nullcontext():
                step_outputs, state = program(inputs, state)
            for series, tensors in ((outputs, step_outputs), (states, state)):
                for name, array in to_numpy(tensors).items():
                    series[name].append(array)
    recording = Recording(stimulus.start, stimulus.inputs, _stack(outputs), _stack(states), stimulus.restarts)
    freeze(recording)
    if coverage:
        coverage.add_run(program.contract, recording)
    return recording


def freeze(trace: Trace) -> None:
    """Make the arrays of a trace read-only."""
    restarts = trace.restarts.values() if isinstance(trace, Recording) else ()
    for arrays in (trace.start, trace.inputs, trace.outputs, trace.states, *restarts):
        for array in arrays.values():
            array.flags.writeable = False


def _stack(series: Mapping[str, list[Array]]) -> Arrays:
    return {name: np.stack(arrays) for name, arrays in series.items()}
