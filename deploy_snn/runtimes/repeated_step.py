"""The base class of the runtimes that run ``step.onnx`` from named arrays; a run repeats the step."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.contract import TensorSpec, check_tensors
from deploy_snn.errors import Unavailable, first_line
from deploy_snn.runtimes.onnx_reference import STEP, load_onnx
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Array, Arrays


class RepeatedStep(Runtime):
    """One step of ``step.onnx``, loaded or converted by another library. None of these libraries runs an ONNX Scan."""

    files: ClassVar[tuple[str, ...]] = (STEP,)
    library: ClassVar[str]
    """The library's name, for messages."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        self._state: Arrays = {}
        self.arguments = (*bundle.contract.inputs, *bundle.contract.states)
        self.results = {spec.name: spec for spec in bundle.contract.outputs} | {
            spec.next_name: spec for spec in bundle.contract.states
        }
        model = load_onnx(bundle, STEP)
        try:
            self.load(model)
        except Exception as error:
            raise Unavailable(f"{self.library} cannot run {bundle.file(STEP)}: {first_line(error)}") from error

    @abstractmethod
    def load(self, model: Any) -> None:
        """Load or convert the ONNX model. Any error means that the library cannot run it."""

    @abstractmethod
    def compute(self, arrays: Arrays) -> Arrays:
        """Run one step, from inputs and states to outputs and ``next.`` states."""

    def start(self, state: Arrays) -> None:
        check_tensors(self.contract.states, state, "state")
        self._state = {name: np.array(array, order="C") for name, array in state.items()}

    def step(self, inputs: Arrays) -> Arrays:
        sizes = check_tensors(self.contract.inputs, inputs, "input")
        check_tensors(self.contract.states, self._state, "state", sizes)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            computed = self.compute(arrays | self._state)
        except Exception as error:
            raise Unavailable(f"{self.library} cannot run {self.bundle.file(STEP)}: {first_line(error)}") from error
        found = {name: self._as(spec, computed[name], sizes) for name, spec in self.results.items()}
        self._state = {spec.name: found[spec.next_name] for spec in self.contract.states}
        return {spec.name: found[spec.name] for spec in self.contract.outputs}

    @staticmethod
    def _as(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> Array:
        """A copy in the contract's type. Several libraries have no bool and return 0 and 1."""
        shape = spec.shape(**sizes)
        if array.shape != shape:
            raise Unavailable(f"the result '{spec.name}' is {list(array.shape)} instead of {list(shape)}")
        return array.astype(spec.dtype, copy=True)

    def run(self, inputs: Arrays) -> Arrays:
        series = [self.step(at(inputs, step)) for step in range(len(next(iter(inputs.values()))))]
        return {name: np.stack([outputs[name] for outputs in series]) for name in series[0]}

    def state(self) -> Arrays:
        return {name: array.copy() for name, array in self._state.items()}
