"""A program with its captured graphs, from which every format is written."""

from functools import cached_property
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram

from deploy_snn.bundle.trace import Trace
from deploy_snn.lowering.capture import capture_normalise, capture_sequence, capture_step
from deploy_snn.program import Program
from deploy_snn.torch_internals import script


class Lowered:
    """The captured graphs of a program. Each is captured on first use and then cached.

    ``name`` is the model's name, and ``golden`` a recorded run of it, for the formats that contain them.
    """

    def __init__(self, program: Program, *, name: str = "model", golden: Trace | None = None) -> None:
        self._program = program.eval()
        self.contract = program.contract
        self.name = name
        self.golden = golden

    @cached_property
    def initial_state(self) -> dict[str, Tensor]:
        """The state before the first step, for a batch of one row."""
        return self._program.initial_state(1)

    def readable_name(self, target: str) -> tuple[str, str]:
        """The name of a parameter of the captured graphs, such as ``exc_thresh``, and the layer or connection it is of."""
        parts = target.split(".")[1:]
        for depth in range(len(parts) - 1, 0, -1):
            owner = getattr(self._program.get_submodule(".".join(parts[:depth])), "name", "")
            if isinstance(owner, str) and owner:
                return f"{owner}_{parts[-1]}", owner
        return parts[-1], ""

    @cached_property
    def step(self) -> ExportedProgram:
        """One step, with a batch of any size."""
        return capture_step(self._program)

    @cached_property
    def sequence(self) -> ExportedProgram:
        """A whole run, with a batch and a length of any size."""
        return capture_sequence(self._program)

    def bounded_step(self, max_batch: int) -> ExportedProgram:
        """One step, with a batch of at most ``max_batch`` rows, for formats that plan their memory."""
        return capture_step(self._program, max_batch)

    def bounded_sequence(self, batch: int, max_steps: int) -> ExportedProgram:
        """A run of at most ``max_steps`` steps with ``batch`` rows."""
        return capture_sequence(self._program, batch, max_steps)

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
