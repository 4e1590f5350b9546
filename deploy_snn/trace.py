"""What a program did: a run's inputs, outputs and states, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from deploy_snn.errors import InvalidInput
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays, read_tensors, write_tensors


@dataclass(frozen=True)
class Trace:
    """A run of T steps. All but ``start`` have a leading time axis; ``states`` are those after each step."""

    start: Arrays
    inputs: Arrays
    outputs: Arrays
    states: Arrays

    @property
    def steps(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def spikes(self) -> list[Array]:
        """The spike outputs, without what else was recorded."""
        return [array for array in self.outputs.values() if array.dtype == np.bool_]

    def state_before(self, step: int) -> Arrays:
        """The state that step ``step`` starts from."""
        return self.start if step == 0 else at(self.states, step - 1)

    def write(self, path: Path) -> None:
        groups = {"start": self.start, "inputs": self.inputs, "outputs": self.outputs, "states": self.states}
        write_tensors(
            path, {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote. Raises InvalidInput for a damaged file, or one of something else."""
        groups: dict[str, Arrays] = {"start": {}, "inputs": {}, "outputs": {}, "states": {}}
        for name, array in read_tensors(path).items():
            group, _, tensor = name.partition("/")
            if group not in groups or not tensor:
                raise InvalidInput(f"{path} holds '{name}'; expected names such as inputs/x: this is no recorded run")
            groups[group][tensor] = array
        if not groups["inputs"] or not groups["outputs"]:
            raise InvalidInput(f"{path} holds no inputs or no outputs: this is no recorded run")
        return cls(**groups)


def at(sequences: Mapping[str, Array], step: int) -> Arrays:
    """One step of sequences."""
    return {name: sequence[step] for name, sequence in sequences.items()}


def to_torch(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Tensors with memory of their own."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def to_numpy(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Arrays that share the tensors' memory where they can."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def record(program: Program, inputs: Arrays, start: Arrays) -> Trace:
    """Run the program in eager torch over sequences of inputs, from a given state."""
    outputs: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.outputs}
    states: dict[str, list[Array]] = {spec.name: [] for spec in program.contract.states}
    state = to_torch(start)
    with torch.no_grad():
        for step in range(len(next(iter(inputs.values())))):
            given, state = program(to_torch(at(inputs, step)), state)
            for series, now in ((outputs, given), (states, state)):
                for name, array in to_numpy(now).items():
                    series[name].append(array)
    return Trace(start, inputs, _stack(outputs), _stack(states))


def _stack(series: Mapping[str, list[Array]]) -> Arrays:
    return {name: np.stack(arrays) for name, arrays in series.items()}
