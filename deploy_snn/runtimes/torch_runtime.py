"""The base class of the runtimes that use torch."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from deploy_snn.bundle import Bundle
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Arrays

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

    @cached_property
    def normalise_function(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
        """The normalisation of the weights; None for a runtime without it."""
        return None

    def scaled_weights(self, state: Arrays) -> Arrays:
        function = self.normalise_function
        if function is None:
            return super().scaled_weights(state)
        with torch.inference_mode():
            return to_numpy(function(to_torch(state)))

    def state(self) -> Arrays:
        return to_numpy(self._state)
