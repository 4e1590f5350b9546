"""Several streams as one batch: their states gathered, the runtime stepped once, the results dealt out again."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from deploy_snn.contract import Contract, TensorSpec
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Array, Arrays


@dataclass(frozen=True)
class Part:
    """What one stream brings: its rows of every input, and of every state."""

    inputs: Arrays
    state: Arrays
    batch: int


@dataclass(frozen=True)
class Result:
    """What it gets back."""

    outputs: Arrays
    state: Arrays


def step_together(runtime: Runtime, contract: Contract, parts: Sequence[Part], *, chunk: bool) -> list[Result]:
    """Step streams together: one step, or all steps of chunks of equal length.

    A model whose rows share a state takes one part at a time: the rows of others would change its result.
    """
    in_time = 1 if chunk else 0
    runtime.start({spec.name: _gather(spec, [part.state[spec.name] for part in parts]) for spec in contract.states})
    inputs = {spec.name: _gather(spec, [part.inputs[spec.name] for part in parts], in_time) for spec in contract.inputs}
    outputs = runtime.run(inputs) if chunk else runtime.step(inputs)
    state = runtime.state()
    bounds = [0, *accumulate(part.batch for part in parts)]
    dealt_outputs = {spec.name: _deal(spec, outputs[spec.name], bounds, in_time) for spec in contract.outputs}
    dealt_state = {spec.name: _deal(spec, state[spec.name], bounds) for spec in contract.states}
    return [
        Result(
            {name: arrays[index] for name, arrays in dealt_outputs.items()},
            {name: arrays[index] for name, arrays in dealt_state.items()},
        )
        for index in range(len(parts))
    ]


def _gather(spec: TensorSpec, arrays: list[Array], in_time: int = 0) -> Array:
    if len(arrays) == 1 or spec.batch_axis is None:
        return arrays[0]
    return np.concatenate(arrays, axis=spec.batch_axis + in_time)


def _deal(spec: TensorSpec, array: Array, bounds: list[int], in_time: int = 0) -> list[Array]:
    """Each stream's rows, in memory of their own: a view would keep the whole batch alive."""
    if spec.batch_axis is None or len(bounds) == 2:
        return [array]
    before = (slice(None),) * (spec.batch_axis + in_time)
    return [array[(*before, slice(begin, end))].copy() for begin, end in pairwise(bounds)]
