"""Classification from spikes: each neuron of a layer has a label, and its spikes are votes for that label."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from deploy_snn.contract import Record, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import Array, check_finite, read_tensors

UNASSIGNED = -1
"""The label of a neuron without a label, and of a row without votes."""


class Readout(Record):
    """The label of each neuron of a layer.

    ``assignments`` ``[N]`` are the labels; -1 for none. ``proportions`` ``[N, labels]`` are optional: the fraction of a
    neuron's activity in response to each label, which weights its votes (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099;
    Hazan et al. 2018, doi:10.3389/fninf.2018.00089).
    """

    layer: str
    assignments: tuple[int, ...]
    proportions: tuple[tuple[float, ...], ...] = ()

    @property
    def output(self) -> str:
        """The name of the output whose spikes are counted."""
        return f"{self.layer}.s"

    @classmethod
    def read(cls, path: Path, outputs: Iterable[TensorSpec]) -> Self:
        """Read a ``.safetensors`` file with ``LAYER.assignments`` and, optionally, ``LAYER.proportions``.

        Raises InvalidInput for other names, for a layer whose spikes are not in ``outputs``, and for wrong shapes or
        values.
        """
        tensors = read_tensors(path)
        layers = {name.rpartition(".")[0] for name in tensors}
        layer = layers.pop() if len(layers) == 1 else ""
        known = {f"{layer}.assignments", f"{layer}.proportions"}
        if f"{layer}.assignments" not in tensors or not tensors.keys() <= known:
            raise InvalidInput(
                f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}; expected LAYER.assignments and LAYER.proportions"
            )
        sizes = {spec.name: int(np.prod(spec.shape(batch=1))) for spec in outputs}
        assignments = tensors[f"{layer}.assignments"]
        if f"{layer}.s" not in sizes:
            raise InvalidInput(f"{path}: the model has no output '{layer}.s'; its outputs are {', '.join(sizes)}")
        if assignments.dtype.kind != "i" or assignments.shape != (sizes[f"{layer}.s"],) or assignments.min() < UNASSIGNED:
            raise InvalidInput(f"{path}: {layer}.assignments must be {sizes[f'{layer}.s']} whole numbers, -1 for none")
        proportions = tensors.get(f"{layer}.proportions", np.zeros((len(assignments), 0), np.float32))
        check_finite({f"{layer}.proportions": proportions}, "tensor")
        largest = int(assignments.max())
        if len(proportions) != len(assignments) or proportions.ndim != 2 or 0 < proportions.shape[1] <= largest:
            raise InvalidInput(
                f"{path}: {layer}.proportions is {list(proportions.shape)}, "
                f"expected [{len(assignments)}, labels] with more than {largest} labels"
            )
        rows = tuple(tuple(map(float, row)) for row in proportions) if proportions.shape[1] else ()
        return cls(layer=layer, assignments=tuple(map(int, assignments)), proportions=rows)


def vote(readout: Readout, counts: Array) -> Array:
    """Return the label with the most votes for each row: spike counts ``[B, *shape]`` to labels ``[B]``; -1 without votes.

    The vote for a label is the mean spike count of its neurons, weighted by their proportions. In a tie the lowest label
    wins.
    """
    assignments = np.array(readout.assignments)
    proportions = np.array(readout.proportions, np.float32)
    spikes = counts.reshape(len(counts), -1).astype(np.float32)
    rates = np.zeros((len(spikes), int(assignments.max(initial=UNASSIGNED)) + 1), np.float32)
    for label in range(rates.shape[1]):
        neurons = assignments == label
        if neurons.any():
            weighted = spikes[:, neurons] * (proportions[neurons, label] if proportions.size else np.float32(1))
            rates[:, label] = weighted.sum(1) / np.float32(neurons.sum())
    return np.where(rates.any(1), rates.argmax(1) if rates.shape[1] else UNASSIGNED, UNASSIGNED)
