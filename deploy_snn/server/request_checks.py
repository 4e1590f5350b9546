"""Checks of requests against a model's contract and limits, before they are stepped."""

import math
from collections.abc import Iterable

import numpy as np

from deploy_snn.contract import Contract, Role, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.server.limits import Limits
from deploy_snn.server.protocol import MAX_JSON_OUTPUTS, InferRequest
from deploy_snn.tensors import Arrays, check_finite

FLOAT32 = np.dtype("float32")


class RequestChecks:
    """Checks the requests of one model.

    Args:
        contract: the contract of the model.
        limits: its limits.
    """

    def __init__(self, contract: Contract, limits: Limits) -> None:
        self._contract, self._limits = contract, limits
        self._output_names = [spec.name for spec in contract.outputs]
        self._output_elements = {spec.name: math.prod(spec.shape(batch=1)) for spec in contract.outputs}
        self._drives = {
            spec.name: spec.shape(batch=1)[1:] if spec.batch_axis == 0 else (-1,)  # matches no shape
            for spec in contract.inputs
            if spec.role is not Role.NOISE
        }
        self._specs_in_time = {spec.name: spec.in_time() for spec in contract.inputs}
        self._state_row, self._state_shared = _row_bytes(contract.states)
        self._step_row, self._step_shared = _row_bytes((*contract.inputs, *contract.outputs))

    def sizes(self, request: InferRequest) -> tuple[int, int | None]:
        """Check a request. Return its rows, and its steps, or None for a step without a time axis.

        Noise may be omitted. Raises InvalidInput for a request that breaks the contract or is too large.
        """
        for name in request.outputs:
            if name not in self._output_names:  # checked before the step, whose results the client would not get
                raise InvalidInput(f"unknown output '{name}'; choose from {', '.join(self._output_names)}")
        rows, steps = self._sizes_of_drives(request.inputs) or self._check_inputs(request.inputs)
        self._check_size(rows, steps or 1)
        if not request.binary or request.outputs:
            asked = request.outputs or dict.fromkeys(self._output_names, request.binary)
            elements = sum(self._output_elements[name] for name, binary in asked.items() if not binary)
            if elements * rows * (steps or 1) > MAX_JSON_OUTPUTS:
                raise InvalidInput(
                    f"outputs of more than {MAX_JSON_OUTPUTS} elements must be asked for in binary (binary_data)"
                )
        check_finite(request.inputs, "input")
        return rows, steps

    def _sizes_of_drives(self, inputs: Arrays) -> tuple[int, int | None] | None:
        """The rows and steps of inputs that are just the drives, each with its batch first; None for all others.

        It finds in a fraction of the time what ``_check_inputs`` finds for them.
        """
        if inputs.keys() != self._drives.keys():
            return None
        leading: tuple[int, ...] | None = None
        for name, array in inputs.items():
            own = self._drives[name]
            axes = array.ndim - len(own)
            if array.dtype is not FLOAT32 or axes not in (1, 2) or array.shape[axes:] != own:
                return None
            if leading is None:
                leading = array.shape[:axes]
            elif leading != array.shape[:axes]:
                return None
        if not leading or 0 in leading:
            return None
        return (leading[0], None) if len(leading) == 1 else (leading[1], leading[0])

    def _check_inputs(self, inputs: Arrays) -> tuple[int, int | None]:
        """Check inputs against the contract; noise may be omitted. Return their rows and steps, as ``sizes``."""
        expected = [spec for spec in self._contract.inputs if spec.role is not Role.NOISE or spec.name in inputs]
        ranks = {len(spec.axes) - inputs[spec.name].ndim for spec in expected if spec.name in inputs}
        chunk = ranks == {-1}
        sizes = check_tensors([self._specs_in_time[spec.name] for spec in expected] if chunk else expected, inputs, "input")
        return sizes["batch"], sizes["time"] if chunk else None

    def _check_size(self, rows: int, steps: int) -> None:
        """Check, before memory is taken, what a request will need. Raises InvalidInput for one that is too large."""
        limits = self._limits
        if rows > limits.max_rows:
            raise InvalidInput(f"the inputs have batch size {rows}; at most {limits.max_rows} rows fit in a request")
        size = self.state_bytes(rows) + steps * (rows * self._step_row + self._step_shared)
        if size > limits.max_request_bytes:
            raise InvalidInput(
                f"{steps} steps of {rows} rows take {size} bytes of inputs, outputs and state; at most "
                f"{limits.max_request_bytes} fit in a request: send shorter chunks"
            )

    def state_bytes(self, rows: int) -> int:
        """The memory of the state of a stream with so many rows."""
        return rows * self._state_row + self._state_shared


def _row_bytes(specs: Iterable[TensorSpec]) -> tuple[int, int]:
    """The bytes that tensors take for each row, and those that all rows share."""
    row = shared = 0
    for spec in specs:
        size = math.prod(spec.shape(batch=1)) * (4 if spec.dtype == "float32" else 1)
        row, shared = (row, shared + size) if spec.batch_axis is None else (row + size, shared)
    return row, shared
