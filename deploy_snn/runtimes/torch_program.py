"""The runtimes that step with torch: eager modules, TorchScript and torch.export programs, on CPU."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import Bundle
from deploy_snn.formats.torchscript import torchscript_on_purpose
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.source import rebuild
from deploy_snn.tensors import Arrays
from deploy_snn.trace import to_numpy, to_torch

Step = Callable[[dict[str, Tensor], dict[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


class TorchRuntime(Runtime):
    """A function ``outputs, next_state = step(inputs, state)`` over torch tensors."""

    def __init__(self, bundle: Bundle) -> None:
        self.contract = bundle.contract
        self._step = self.load(bundle)
        self._state: dict[str, Tensor] = {}

    @abstractmethod
    def load(self, bundle: Bundle) -> Step:
        """The step, from the bundle's file."""

    def start(self, state: Arrays) -> None:
        self._state = to_torch(state)

    def step(self, inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs, self._state = self._step(
                {name: torch.from_numpy(array) for name, array in inputs.items()}, self._state
            )
        return to_numpy(outputs)

    def state(self) -> Arrays:
        return to_numpy(self._state)


class Eager(TorchRuntime):
    """The program itself: the reference of every comparison."""

    file: ClassVar[str] = ""
    about: ClassVar[str] = "the torch modules themselves, built again from their source"

    def load(self, bundle: Bundle) -> Step:
        program = rebuild(bundle.manifest.source, bundle.parameters())
        bundle.check_contract(program.contract, "manifest.json (source)")
        return program


class TorchScript(TorchRuntime):
    """A loaded script module."""

    file: ClassVar[str] = "model.pt"
    about: ClassVar[str] = "TorchScript in libtorch's interpreter"

    def load(self, bundle: Bundle) -> Step:
        path, inside = bundle.file(self.file), {CONTRACT_FILE: ""}
        try:
            with torchscript_on_purpose():
                script: Step = torch.jit.load(path, _extra_files=inside)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(f"{path} is no TorchScript file: {_first_line(error)}") from None
        bundle.check_contract(Contract.parse(inside[CONTRACT_FILE], str(path)), self.file)
        return script


class ExportedProgram(TorchRuntime):
    """A loaded torch.export program."""

    file: ClassVar[str] = "model.pt2"
    about: ClassVar[str] = "torch.export program, run by torch"

    def load(self, bundle: Bundle) -> Step:
        path, inside = bundle.file(self.file), {CONTRACT_FILE: ""}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
                program = torch.export.load(path, extra_files=inside)
        except Exception as error:  # noqa: BLE001  (it raises what its parts raise: zip, schema, pickle errors)
            raise InvalidInput(f"{path} is no torch.export program: {_first_line(error)}") from None
        bundle.check_contract(Contract.parse(inside[CONTRACT_FILE], str(path)), self.file)
        step: Step = program.module()
        return step


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
