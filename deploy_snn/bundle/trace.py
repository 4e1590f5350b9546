"""A trace: the inputs, outputs and states of a run, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import Array, Arrays, read_tensors, write_tensors


@dataclass(frozen=True)
class Trace:
    """A run of T steps. All but ``start`` have a leading time axis. ``states`` holds the state after each step."""

    start: Arrays
    inputs: Arrays
    outputs: Arrays
    states: Arrays

    @property
    def steps(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def spikes(self) -> list[Array]:
        """The spike outputs, without the other recorded outputs."""
        return [array for array in self.outputs.values() if array.dtype == np.bool_]

    def state_before(self, step: int) -> Arrays:
        """The state before step ``step``."""
        return self.start if step == 0 else at(self.states, step - 1)

    def write(self, path: Path) -> None:
        groups = {"start": self.start, "inputs": self.inputs, "outputs": self.outputs, "states": self.states}
        write_tensors(
            path, {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of ``write``. Raises InvalidInput if it is damaged or not a trace."""
        groups: dict[str, Arrays] = {"start": {}, "inputs": {}, "outputs": {}, "states": {}}
        for name, array in read_tensors(path).items():
            group, _, tensor = name.partition("/")
            if group not in groups or not tensor:
                raise InvalidInput(f"{path} is not a recorded run: it holds '{name}'; expected names such as inputs/x")
            groups[group][tensor] = array
        if not groups["inputs"] or not groups["outputs"]:
            raise InvalidInput(f"{path} is not a recorded run: it has no inputs or no outputs")
        return cls(**groups)


def at(sequences: Mapping[str, Array], step: int) -> Arrays:
    """Return one step of each sequence."""
    return {name: sequence[step] for name, sequence in sequences.items()}
