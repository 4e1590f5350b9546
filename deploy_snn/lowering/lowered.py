"""A program with its captured graphs, from which every format is written."""

from functools import cached_property
from typing import Any

from torch.export import ExportedProgram

from deploy_snn.lowering.capture import capture_normalise, capture_sequence, capture_step
from deploy_snn.program import Program
from deploy_snn.torch_internals import script


class Lowered:
    """The captured graphs of a program. Each is captured on first use and then cached."""

    def __init__(self, program: Program) -> None:
        self._program = program.eval()
        self.contract = program.contract

    @cached_property
    def step(self) -> ExportedProgram:
        """One step, with a batch of any size."""
        return capture_step(self._program)

    @cached_property
    def sequence(self) -> ExportedProgram:
        """A whole run, with a batch and a length of any size."""
        return capture_sequence(self._program)

    @cached_property
    def normalise(self) -> ExportedProgram | None:
        """The normalisation of the weights, from weights to weights; None for a program that has none."""
        return capture_normalise(self._program)

    @cached_property
    def scripted(self) -> Any:
        """The program compiled by TorchScript: ``forward``, ``initial_state``, ``rollout``, ``normalise``.

        Raises Unavailable if torch has no TorchScript.
        """
        return script(self._program)
