"""TorchScript, run by libtorch's interpreter."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime
from deploy_snn.tensors import Arrays
from deploy_snn.torch_internals import load_script, torchscript_missing


class TorchScript(TorchRuntime):
    """A loaded script module."""

    files: ClassVar[tuple[str, ...]] = ("model.pt",)
    has_initial_state: ClassVar[bool] = True

    @cached_property
    def script(self) -> Any:
        path, inside = self.bundle.file(self.files[0]), {CONTRACT_FILE: ""}
        reason = torchscript_missing()
        if reason:
            raise Unavailable(f"torchscript cannot run here: {reason}")
        try:
            script = load_script(path, inside, self.device)
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(f"{path} is not a TorchScript file: {first_line(error)}") from None
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

    def initial_state(self, batch: int) -> Arrays:
        return to_numpy(self.script.initial_state(batch))

    @cached_property
    def normalise_function(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
        function: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(self.script, "normalise", None)
        return function  # a module of an earlier version has none


class TorchScriptCuda(TorchScript):
    """A script module on a CUDA device."""

    device: ClassVar[str] = "cuda"
