"""The base class of the runtimes that use torch."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from deploy_snn.bundle import Bundle
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.runtimes.tf32 import without_tf32
from deploy_snn.tensors import Arrays

Function = Callable[[dict[str, Tensor], dict[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


class TorchRuntime(Runtime):
    """Functions ``outputs, next_state = function(inputs, state)`` over torch tensors: a step, and a whole run."""

    device: ClassVar[str] = "cpu"
    """The torch device of the functions and the state. On any other than the CPU, TF32 is off."""

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
        self._state = self._on_device(to_torch(state))

    def step(self, inputs: Arrays) -> Arrays:
        return self._call(self.step_function, inputs)

    def run(self, inputs: Arrays) -> Arrays:
        return self._call(self.run_function, inputs)

    def _call(self, function: Function, inputs: Arrays) -> Arrays:
        tensors = self._on_device({name: torch.from_numpy(array) for name, array in inputs.items()})
        with torch.inference_mode(), nullcontext() if self.device == "cpu" else without_tf32():
            outputs, self._state = function(tensors, self._state)
        return to_numpy(outputs)

    def _on_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    @cached_property
    def normalise_function(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
        """The normalisation of the weights; None for a runtime without it."""
        return None

    def scaled_weights(self, state: Arrays) -> Arrays:
        function = self.normalise_function
        if function is None:
            return super().scaled_weights(state)
        with torch.inference_mode():
            return to_numpy(function(self._on_device(to_torch(state))))

    def state(self) -> Arrays:
        return to_numpy(self._state)
