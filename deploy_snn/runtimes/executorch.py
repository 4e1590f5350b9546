"""ExecuTorch: programs whose memory was planned at export, run by its portable kernels or by XNNPACK."""

from functools import cached_property
from typing import Any, ClassVar

import torch
from executorch.runtime import Runtime as Library
from torch import Tensor

from deploy_snn.contract import Contract
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime

Tensors = dict[str, Tensor]


class Executorch(TorchRuntime):
    """The methods ``step`` and ``sequence`` of a ``.pte`` file.

    A run is cut into calls of at most ``max_steps`` steps. With another batch than ``sequence`` has, it repeats the step.
    """

    files: ClassVar[tuple[str, ...]] = ("model.pte",)
    format: ClassVar[str] = "executorch"
    """The section of the manifest with the bounds."""

    @cached_property
    def step_function(self) -> Function:
        return self._function("step")

    @cached_property
    def run_function(self) -> Function:
        fixed, max_steps = self._option("sequence_batch"), self._option("max_steps")
        call, step_function, first = self._function("sequence"), self.step_function, self.contract.inputs[0].name

        def run(inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
            parts = []
            steps, batch = inputs[first].shape[:2]
            if batch == fixed:
                for begin in range(0, steps, max_steps):
                    outputs, state = call({name: t[begin : begin + max_steps] for name, t in inputs.items()}, state)
                    parts.append(outputs)
            else:
                for step in range(steps):
                    outputs, state = step_function({name: t[step] for name, t in inputs.items()}, state)
                    parts.append({name: value[None] for name, value in outputs.items()})
            return {name: torch.cat([outputs[name] for outputs in parts]) for name in parts[0]}, state

        return run

    @cached_property
    def _program(self) -> Any:
        path = self.bundle.file(self.files[0])
        try:
            program = Library.get().load_program(path)
            (contract,) = program.load_method("contract").execute([])
        except Exception as error:  # noqa: BLE001  (its exceptions share no base class)
            raise InvalidInput(f"{path} cannot be loaded: {first_line(error)}") from None
        self.bundle.check_contract(Contract.parse(contract, str(path)), path.name)
        return program

    def _option(self, name: str) -> int:
        return int(self.bundle.manifest.formats[self.format][name])

    def _function(self, name: str) -> Function:
        execute = self._load(name)
        contract, max_batch = self.contract, self._option("max_batch")
        first = contract.inputs[0].name

        def function(inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
            batch = len(inputs[first])
            if name == "step" and batch > max_batch:
                raise InvalidInput(
                    f"the inputs have batch {batch}, but {self.files[0]} was exported for at most {max_batch}: "
                    f"export it with max_batch={batch}"
                )
            arguments = [inputs[spec.name] for spec in contract.inputs] + [state[spec.name] for spec in contract.states]
            # The results lie in the program's own memory, which the next call writes to.
            results = iter([tensor.clone() for tensor in execute([tensor.contiguous() for tensor in arguments])])
            return {spec.name: next(results) for spec in contract.outputs}, {
                spec.name: next(results) for spec in contract.states
            }

        return function

    def _load(self, name: str) -> Any:
        try:
            return self._program.load_method(name).execute
        except RuntimeError as error:
            raise Unavailable(
                f"this ExecuTorch cannot run {self.bundle.file(self.files[0])}: {first_line(error)}"
            ) from None


class ExecutorchXnnpack(Executorch):
    """Programs with XNNPACK's kernels."""

    files: ClassVar[tuple[str, ...]] = ("model.xnnpack.pte",)
    format: ClassVar[str] = "executorch-xnnpack"
