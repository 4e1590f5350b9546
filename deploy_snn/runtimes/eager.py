"""Eager torch: the program rebuilt from the manifest. It is the reference of every comparison."""

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime


class Eager(TorchRuntime):
    """The torch modules themselves."""

    files: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def program(self) -> Program:
        return reference_program(self.bundle).to(self.device)

    @cached_property
    def step_function(self) -> Function:
        return self.program

    @cached_property
    def run_function(self) -> Function:
        return self.program.rollout

    @cached_property
    def normalise_function(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        return self.program.normalise


class EagerCuda(Eager):
    """The torch modules on a CUDA device."""

    device: ClassVar[str] = "cuda"
