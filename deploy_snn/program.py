"""A program: anything that can be exported, one neuron or a whole network, as a torch module with explicit state."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from deploy_snn.contract import Contract
from deploy_snn.torch_internals import scan, script_export


class Program(nn.Module, ABC):
    """``outputs, next_state = program(inputs, state)``: one step of dt, over dictionaries name -> tensor.

    State is data: it comes in, a new one goes out, and neither the module nor any tensor it was given has changed.
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["contract"]

    @property
    @abstractmethod
    def contract(self) -> Contract:
        """The records of every tensor that a step takes and gives."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step: ``outputs, next_state``. Shapes and names are those of ``contract``."""

    @abstractmethod
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first step, for ``batch`` rows."""

    @abstractmethod
    def threshold_inputs(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """For each spike output, the numbers that its comparison sees in this step: ``(value, threshold)``."""

    def over_time(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What ``rollout`` gives, as one graph for torch.export to capture: the step in a Scan. Gradients must be off."""

        def body(carried: dict[str, Tensor], now: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            outputs, after = self(now, carried)
            return {name: after[name] for name in carried}, outputs  # scan pairs states by their place

        last, outputs = scan(body, state, inputs)
        return outputs, last

    def plan_in_words(self) -> tuple[str, ...]:
        """What ``over_time`` runs after what, for people; nothing where there is but one thing to run."""
        return ()

    @script_export
    def rollout(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Step through a sequence: inputs and outputs have a leading time axis. Gives the outputs and the last state.

        Raises ValueError for inputs that are empty or of different lengths.
        """
        steps = -1
        for name, sequence in inputs.items():
            if steps >= 0 and sequence.size(0) != steps:
                raise ValueError(f"input {name} has {sequence.size(0)} steps, and an input before it {steps}")
            steps = sequence.size(0)
        if steps < 1:
            raise ValueError("an empty sequence: inputs need at least one step on their leading time axis")
        series: dict[str, list[Tensor]] = {}
        for step in range(steps):
            now: dict[str, Tensor] = {}
            for name, sequence in inputs.items():
                now[name] = sequence[step]
            outputs, state = self.forward(now, state)
            for name, value in outputs.items():
                if name not in series:
                    series[name] = []
                series[name].append(value)
        stacked: dict[str, Tensor] = {}
        for name, values in series.items():
            stacked[name] = torch.stack(values)
        return stacked, state
