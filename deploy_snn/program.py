"""A program: anything that can be exported, one neuron or a whole network, as a torch module with explicit state."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from deploy_snn.contract import Contract
from deploy_snn.torch_internals import scan, script_export


class Program(nn.Module, ABC):
    """``outputs, next_state = program(inputs, state)``: one step of dt, over dictionaries name -> tensor.

    State is data: a step takes the state as an argument and returns the next one. It changes neither the module nor any
    tensor of its arguments.
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["contract"]

    @property
    @abstractmethod
    def contract(self) -> Contract:
        """The records of every tensor that a step reads and returns."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step: ``outputs, next_state``. Shapes and names are those of ``contract``."""

    def advance(
        self, inputs: dict[str, Tensor], state: dict[str, Tensor], owned: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the same as ``forward``. If the caller owns the state, its large tensors may be changed in place."""
        return self.forward(inputs, state)

    @abstractmethod
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first step, for ``batch`` rows."""

    @abstractmethod
    def threshold_inputs(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """For each spike output, the two operands of its threshold comparison in this step: ``(value, threshold)``."""

    def over_time(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the same as ``rollout`` as one graph for torch.export: the step in a Scan. Gradients must be disabled."""

        def body(carried: dict[str, Tensor], now: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            outputs, after = self(now, carried)
            return {name: after[name] for name in carried}, outputs  # scan matches states by position, not by name

        last, outputs = scan(body, state, inputs, self)
        return outputs, last

    @script_export
    def normalise(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale the weights whose rule has a ``norm``. Returns these weights by name; the other states do not change.

        A host does this at the end of a sample, learning or not.
        """
        scaled: dict[str, Tensor] = {}
        return scaled

    def plan_in_words(self) -> tuple[str, ...]:
        """Describe the order in which ``over_time`` runs the parts of the program. Empty if it has only one part."""
        return ()

    @script_export
    def rollout(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Step through a sequence and return the outputs and the last state. Inputs and outputs have a leading time axis.

        Raises ValueError for inputs that are empty or of different lengths.
        """
        steps = -1
        for name, sequence in inputs.items():
            if steps >= 0 and sequence.size(0) != steps:
                raise ValueError(f"input {name} has {sequence.size(0)} steps, but the inputs before it have {steps}")
            steps = sequence.size(0)
        if steps < 1:
            raise ValueError("the inputs are empty: they need at least one step on their leading time axis")
        series: dict[str, list[Tensor]] = {}
        for step in range(steps):
            now: dict[str, Tensor] = {}
            for name, sequence in inputs.items():
                now[name] = sequence[step]
            outputs, state = self.advance(now, state, step > 0)  # the first state is the caller's
            for name, value in outputs.items():
                if name not in series:
                    series[name] = []
                series[name].append(value)
        stacked: dict[str, Tensor] = {}
        for name, values in series.items():
            stacked[name] = torch.stack(values)
        return stacked, state
