"""Stepping several streams as one batch: concatenate their states, step the runtime once, split the results."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from deploy_snn.contract import Contract, TensorSpec
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Array, Arrays


class BatchEntry(NamedTuple):
    """One stream's rows of a batch: of every input and of every state."""

    inputs: Arrays
    state: Arrays
    batch: int


class BatchResult(NamedTuple):
    """One stream's rows of the outputs and of the next state."""

    outputs: Arrays
    state: Arrays
    infinite: str | None
    """The name of a state that holds infinity or NaN, or None."""


def step_together(runtime: Runtime, contract: Contract, entries: Sequence[BatchEntry], *, chunk: bool) -> list[BatchResult]:
    """Step streams together: one step, or all steps of chunks of equal length.

    A model whose rows share a state must be given one entry at a time: rows of other streams would change its result.
    """
    time_axes = 1 if chunk else 0
    runtime.start(
        {spec.name: _concatenate(spec, [entry.state[spec.name] for entry in entries]) for spec in contract.states}
    )
    inputs = {
        spec.name: _concatenate(spec, [entry.inputs[spec.name] for entry in entries], time_axes) for spec in contract.inputs
    }
    outputs = runtime.run(inputs) if chunk else runtime.step(inputs)
    state = runtime.state()
    bounds = [0, *accumulate(entry.batch for entry in entries)]
    split_outputs = {
        spec.name: _split(spec, outputs[spec.name], bounds, time_axes, copy=False) for spec in contract.outputs
    }
    split_state = {spec.name: _split(spec, state[spec.name], bounds) for spec in contract.states}
    infinite = [name for name, array in state.items() if not np.isfinite(array).all()]  # of the batch: once is cheap
    results = []
    for index in range(len(entries)):
        own = {name: arrays[index] for name, arrays in split_state.items()}
        found = next((name for name in infinite if not np.isfinite(own[name]).all()), None) if infinite else None
        results.append(BatchResult({name: arrays[index] for name, arrays in split_outputs.items()}, own, found))
    return results


def _concatenate(spec: TensorSpec, arrays: list[Array], time_axes: int = 0) -> Array:
    if len(arrays) == 1 or spec.batch_axis is None:
        return arrays[0]
    return np.concatenate(arrays, axis=spec.batch_axis + time_axes)


def _split(spec: TensorSpec, array: Array, bounds: list[int], time_axes: int = 0, *, copy: bool = True) -> list[Array]:
    """The rows of each stream. Copy what is kept between steps: a view would keep the whole batch in memory."""
    if spec.batch_axis is None or len(bounds) == 2:
        return [array]
    leading = (slice(None),) * (spec.batch_axis + time_axes)
    if leading:
        rows = [array[(*leading, slice(begin, end))] for begin, end in pairwise(bounds)]
    else:
        rows = [array[begin:end] for begin, end in pairwise(bounds)]
    return [row.copy() for row in rows] if copy else rows
