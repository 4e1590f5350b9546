"""torch.export programs, run by torch."""

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime
from deploy_snn.torch_internals import silence_leaf_spec_warning

NORMALISE = "normalise.pt2"


class ExportedProgram(TorchRuntime):
    """Loaded torch.export programs."""

    files: ClassVar[tuple[str, ...]] = ("model.pt2", "sequence.pt2")

    @cached_property
    def step_function(self) -> Function:
        return self._load(self.files[0])

    @cached_property
    def run_function(self) -> Function:
        return self._load(self.files[1])

    @cached_property
    def normalise_function(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        weights = [spec.name for spec in self.contract.weights]
        if NORMALISE not in self.bundle.manifest.files:
            return lambda _: {}
        function = self._load(NORMALISE)
        return lambda state: function({}, {name: state[name] for name in weights})[1]

    def _load(self, name: str) -> Function:
        path, inside = self.bundle.file(name), {CONTRACT_FILE: ""}
        try:
            with silence_leaf_spec_warning():
                program = torch.export.load(path, extra_files=inside)
        except Exception as error:  # noqa: BLE001  (its exceptions share no base class)
            raise InvalidInput(f"{path} is not a torch.export program: {first_line(error)}") from None
        self.bundle.check_contract(Contract.parse(inside[CONTRACT_FILE], str(path)), name)
        if self.device != "cpu":
            # The constants of a program, and its assertions about tensors, name the device of the export.
            program = move_to_device_pass(program, self.device)
        function: Function = program.module()
        return function


class ExportedProgramCuda(ExportedProgram):
    """torch.export programs on a CUDA device."""

    device: ClassVar[str] = "cuda"
