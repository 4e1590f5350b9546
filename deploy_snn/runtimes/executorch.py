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

DTYPES = {6: "float32", 11: "bool"}
"""The numbers that ExecuTorch has for the element types of the contract."""


class Executorch(TorchRuntime):
    """The methods ``step`` and ``sequence`` of a ``.pte`` file.

    A run is cut into calls of at most as many steps as ``sequence`` takes. With another batch than ``sequence`` has, it
    repeats the step. The bounds of batch and time are the sizes of the file's own arguments.
    """

    files: ClassVar[tuple[str, ...]] = ("model.pte",)

    @cached_property
    def step_function(self) -> Function:
        return self._function("step")

    @cached_property
    def run_function(self) -> Function:
        call, step_function, first = self._function("sequence"), self.step_function, self.contract.inputs[0].name
        bounds = self._bounds("sequence")
        fixed, max_steps = bounds["batch"], bounds["time"]

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

    def _bounds(self, name: str) -> dict[str, int]:
        """The largest batch and number of steps of a method: the sizes that memory was planned for.

        Raises InvalidInput if its arguments and results are not those of the contract, in its order.
        """
        contract, path = self.contract, self.bundle.file(self.files[0])
        try:
            method = self._program.metadata(name)
        except RuntimeError as error:
            raise InvalidInput(f"{path} has no method '{name}': {first_line(error)}") from None
        in_time = name == "sequence"
        inputs, outputs = (
            [spec.in_time() if in_time else spec for spec in specs] for specs in (contract.inputs, contract.outputs)
        )
        sizes: dict[str, int] = {}
        for kind, specs, count, tensor in (
            ("argument", [*inputs, *contract.states], method.num_inputs(), method.input_tensor_meta),
            ("result", [*outputs, *contract.states], method.num_outputs(), method.output_tensor_meta),
        ):
            if count != len(specs):
                raise InvalidInput(f"{path}: {name} has {count} {kind}s, but the contract lists {len(specs)}")
            for place, spec in enumerate(specs):
                found = tensor(place)
                shape, dtype = list(found.sizes()), DTYPES.get(found.dtype(), f"of type {found.dtype()}")
                expected = f"{spec.dtype} {[axis.name if axis.size is None else axis.size for axis in spec.axes]}"
                if len(shape) == len(spec.axes):
                    for size, axis in zip(shape, spec.axes, strict=True):
                        if axis.size is None:
                            sizes.setdefault(axis.name, size)
                    expected = f"{spec.dtype} {list(spec.shape(**sizes))}"
                if f"{dtype} {shape}" != expected:
                    raise InvalidInput(
                        f"{path}: {kind} {place} of {name} is {dtype} {shape}, but the contract has {spec.name} {expected}"
                    )
        return sizes

    def _function(self, name: str) -> Function:
        execute = self._load(name)
        contract, max_batch = self.contract, self._bounds(name)["batch"]
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
