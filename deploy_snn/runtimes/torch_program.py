"""The runtimes that step with torch: eager modules, TorchScript and torch.export programs, on CPU."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import Bundle
from deploy_snn.formats.pt2 import tree_specs_on_purpose
from deploy_snn.formats.torchscript import torchscript_on_purpose
from deploy_snn.program import Program
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.source import rebuild
from deploy_snn.tensors import Arrays
from deploy_snn.trace import to_numpy, to_torch

Function = Callable[[dict[str, Tensor], dict[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


class TorchRuntime(Runtime):
    """Functions ``outputs, next_state = function(inputs, state)`` over torch tensors: a step, and a whole run."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        self._state: dict[str, Tensor] = {}

    @cached_property
    @abstractmethod
    def step_function(self) -> Function:
        """One step."""

    @cached_property
    @abstractmethod
    def run_function(self) -> Function:
        """A whole run."""

    def start(self, state: Arrays) -> None:
        self._state = to_torch(state)

    def step(self, inputs: Arrays) -> Arrays:
        return self._call(self.step_function, inputs)

    def run(self, inputs: Arrays) -> Arrays:
        return self._call(self.run_function, inputs)

    def _call(self, function: Function, inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs, self._state = function({name: torch.from_numpy(array) for name, array in inputs.items()}, self._state)
        return to_numpy(outputs)

    def state(self) -> Arrays:
        return to_numpy(self._state)


class Eager(TorchRuntime):
    """The program itself: the reference of every comparison."""

    files: ClassVar[tuple[str, ...]] = ()
    about: ClassVar[str] = "the torch modules themselves, built again from their source"

    @cached_property
    def program(self) -> Program:
        program = rebuild(self.bundle.manifest.source, self.bundle.parameters())
        self.bundle.check_contract(program.contract, "the model it was exported from")
        return program

    @cached_property
    def step_function(self) -> Function:
        return self.program

    @cached_property
    def run_function(self) -> Function:
        return self.program.rollout


class TorchScript(TorchRuntime):
    """A loaded script module."""

    files: ClassVar[tuple[str, ...]] = ("model.pt", "model.pt")
    about: ClassVar[str] = "TorchScript in libtorch's interpreter"

    @cached_property
    def script(self) -> Any:
        path, inside = self.bundle.file(self.files[0]), {CONTRACT_FILE: ""}
        try:
            with torchscript_on_purpose():
                script = torch.jit.load(path, _extra_files=inside)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(f"{path} is no TorchScript file: {_first_line(error)}") from None
        self.bundle.check_contract(Contract.parse(inside[CONTRACT_FILE], str(path)), path.name)
        return script

    @cached_property
    def step_function(self) -> Function:
        function: Function = self.script
        return function

    @cached_property
    def run_function(self) -> Function:
        function: Function = self.script.rollout
        return function


class ExportedProgram(TorchRuntime):
    """Loaded torch.export programs."""

    files: ClassVar[tuple[str, ...]] = ("model.pt2", "sequence.pt2")
    about: ClassVar[str] = "torch.export program, run by torch"

    @cached_property
    def step_function(self) -> Function:
        return self._load(self.files[0])

    @cached_property
    def run_function(self) -> Function:
        return self._load(self.files[1])

    def _load(self, name: str) -> Function:
        path, inside = self.bundle.file(name), {CONTRACT_FILE: ""}
        try:
            with tree_specs_on_purpose():
                program = torch.export.load(path, extra_files=inside)
        except Exception as error:  # noqa: BLE001  (it raises what its parts raise: zip, schema, pickle errors)
            raise InvalidInput(f"{path} is no torch.export program: {_first_line(error)}") from None
        self.bundle.check_contract(Contract.parse(inside[CONTRACT_FILE], str(path)), name)
        function: Function = program.module()
        return function


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
