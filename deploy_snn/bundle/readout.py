"""From spikes to an answer: each neuron of a layer stands for a label, and the spikes of a run are its votes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from deploy_snn.contract import Record, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import Array, check_finite, read_tensors

UNASSIGNED = -1
"""The label of a neuron that stands for none, and of a row without a vote."""


class Readout(Record):
    """Which label each neuron of a layer stands for, ``assignments`` ``[N]``; -1 for none.

    ``proportions`` ``[N, labels]``, where they are given, say how much of a neuron's activity was each label's, and weigh
    its votes (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099; Hazan et al. 2018, doi:10.3389/fninf.2018.00089).
    """

    layer: str
    assignments: tuple[int, ...]
    proportions: tuple[tuple[float, ...], ...] = ()

    @property
    def output(self) -> str:
        """The name of the spikes that are counted."""
        return f"{self.layer}.s"

    @classmethod
    def read(cls, path: Path, outputs: Iterable[TensorSpec]) -> Self:
        """Read a ``.safetensors`` file that holds ``LAYER.assignments`` and, if they weigh, ``LAYER.proportions``.

        Raises InvalidInput for other names, a layer without spikes among the ``outputs``, and numbers that do not fit it.
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
            raise InvalidInput(f"{path} is about layer '{layer}'; the model gives {', '.join(sizes)}")
        if assignments.dtype.kind != "i" or assignments.shape != (sizes[f"{layer}.s"],) or assignments.min() < UNASSIGNED:
            raise InvalidInput(f"{path}: {layer}.assignments must be {sizes[f'{layer}.s']} whole numbers, -1 for none")
        proportions = tensors.get(f"{layer}.proportions", np.zeros((len(assignments), 0), np.float32))
        check_finite({f"{layer}.proportions": proportions}, "tensor")
        most = int(assignments.max())
        if len(proportions) != len(assignments) or proportions.ndim != 2 or 0 < proportions.shape[1] <= most:
            raise InvalidInput(
                f"{path}: {layer}.proportions must be [{len(assignments)}, labels], and more than {most} of them"
            )
        weighs = tuple(tuple(map(float, row)) for row in proportions) if proportions.shape[1] else ()
        return cls(layer=layer, assignments=tuple(map(int, assignments)), proportions=weighs)


def vote(readout: Readout, counts: Array) -> Array:
    """The label with the most votes, for each row: spike counts ``[B, *shape]`` to labels ``[B]``; -1 without a vote.

    Each label has the mean of the spikes of its neurons, weighed by their proportions; of equal ones the first wins.
    """
    assignments = np.array(readout.assignments)
    proportions = np.array(readout.proportions, np.float32)
    spikes = counts.reshape(len(counts), -1).astype(np.float32)
    rates = np.zeros((len(spikes), int(assignments.max(initial=UNASSIGNED)) + 1), np.float32)
    for label in range(rates.shape[1]):
        neurons = assignments == label
        if neurons.any():
            weighed = spikes[:, neurons] * (proportions[neurons, label] if proportions.size else np.float32(1))
            rates[:, label] = weighed.sum(1) / np.float32(neurons.sum())
    return np.where(rates.any(1), rates.argmax(1) if rates.shape[1] else UNASSIGNED, UNASSIGNED)
