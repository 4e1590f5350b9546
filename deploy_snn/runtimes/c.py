"""Compiled C: the library for this CPU that a bundle carries, or its source, built into a library for this machine."""

import ctypes
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library
from deploy_snn.contract import Contract, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.runtimes.carried_library import carried_library
from deploy_snn.runtimes.runtime import NOTHING_TO_NORMALISE, Runtime
from deploy_snn.tensors import Array, Arrays

SECTION = "c"
ALIGNMENT = 64


class CompiledC(Runtime):
    """Runs the functions of ``model.c``. The state is an array of structs, one for each row, in this object's memory."""

    files: ClassVar[tuple[str, ...]] = ("model.h", "model.c")

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        section = bundle.manifest.formats.get(SECTION, {})
        prefix, weights = section.get("prefix"), section.get("weights")
        if not isinstance(prefix, str) or not prefix.isidentifier() or not isinstance(weights, str):
            raise InvalidInput(f"{bundle.path}: the manifest has no valid section '{SECTION}': export the model again")
        self._library, source = self._load()
        self._prefix = prefix
        self._weights = np.memmap(bundle.file(weights), np.uint8, "r") if weights else None
        try:
            inside = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(self._library, f"{prefix}_contract")))
            self._run = self._function(
                "run", ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p
            )
            self._row_bytes = int(self._function("state_size", result=ctypes.c_size_t)())
        except (AttributeError, ValueError):
            raise InvalidInput(f"{bundle.path / source} has no model '{prefix}'") from None
        bundle.check_contract(Contract.parse(inside, str(bundle.path / source)), source)
        self._batch = 0

    def _load(self) -> tuple[ctypes.CDLL, str]:
        """The library, and the name of the file that it is or was built from."""
        carried = carried_library(self.bundle)
        if carried is None:
            texts = {name: self.bundle.file(name).read_text() for name in self.files}
            return ctypes.CDLL(str(build_library(texts))), "model.c"
        path = self.bundle.file(carried)
        try:
            return ctypes.CDLL(str(path.absolute())), carried
        except OSError as error:
            raise InvalidInput(f"{path} cannot be loaded: {first_line(error)}") from None

    def _function(self, name: str, *arguments: Any, result: Any = None) -> Any:
        function = getattr(self._library, f"{self._prefix}_{name}")
        function.argtypes, function.restype = arguments, result
        return function

    def start(self, state: Arrays) -> None:
        check_tensors(self.contract.states, state, "state")
        sizes = [state[spec.name].shape[spec.batch_axis] for spec in self.contract.states if spec.batch_axis is not None]
        batch = int(sizes[0]) if sizes else 1
        if batch != self._batch:
            self._bind(batch)
        if not self.contract.states:
            return
        arrays = [np.ascontiguousarray(state[spec.name]) for spec in self.contract.states]
        load = self._function("load_state", ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, result=ctypes.c_int)
        if load(self._states, batch, _pointers(arrays)):
            check_spikes(self.contract, state)

    def _bind(self, batch: int) -> None:
        """Allocate the states, inputs and outputs of one step for a number of rows."""
        contract, self._batch = self.contract, batch
        self._memory = np.zeros(batch * self._row_bytes + ALIGNMENT, np.uint8)
        address = self._memory.ctypes.data
        self._states = address + -address % ALIGNMENT
        if self._weights is not None:
            set_weights = self._function("set_weights", ctypes.c_void_p, ctypes.c_void_p)
            for row in range(batch):
                set_weights(self._states + row * self._row_bytes, self._weights.ctypes.data)
        self._inputs = [(spec.name, np.zeros(spec.shape(batch=batch), np.float32)) for spec in contract.inputs]
        self._outputs = [(spec.name, np.zeros(spec.shape(batch=batch), spec.dtype)) for spec in contract.outputs]
        self._step_inputs = _pointers(array for _, array in self._inputs)
        self._step_outputs = _pointers(array for _, array in self._outputs)
        self._arguments = (
            ctypes.c_void_p(self._states),
            ctypes.c_int32(batch),
            ctypes.c_int32(1),
            ctypes.cast(self._step_inputs, ctypes.c_void_p),
            ctypes.cast(self._step_outputs, ctypes.c_void_p),
        )

    def step(self, inputs: Arrays) -> Arrays:
        for name, array in self._inputs:
            given = inputs[name]
            if given.shape != array.shape or given.dtype != np.float32:
                check_tensors(self.contract.inputs, inputs, "input")
                self._rebatch(given)
                return self.step(inputs)
            array[...] = given
        self._run(*self._arguments)
        return {name: array.copy() for name, array in self._outputs}

    def run(self, inputs: Arrays) -> Arrays:
        sizes = check_tensors([spec.in_time() for spec in self.contract.inputs], inputs, "input")
        if sizes["batch"] != self._batch:
            self._rebatch(next(iter(inputs.values()))[0])
        given = [np.ascontiguousarray(inputs[spec.name]) for spec in self.contract.inputs]
        outputs = {spec.name: self._series(spec, sizes["time"]) for spec in self.contract.outputs}
        self._run(self._states, self._batch, sizes["time"], _pointers(given), _pointers(outputs.values()))
        return outputs

    def _series(self, spec: TensorSpec, steps: int) -> Array:
        return np.empty((steps, *spec.shape(batch=self._batch)), spec.dtype)

    def _rebatch(self, array: Array) -> None:
        """Change to the batch size of the inputs. Possible only if the program has no state per row."""
        if any(spec.batch_axis is not None for spec in self.contract.states):
            raise InvalidInput(f"the inputs have batch {array.shape[0]}, but the state has batch {self._batch}")
        state = self.state() if self._batch else {}
        self._bind(array.shape[0])
        if state:
            self.start(state)

    def normalise(self) -> None:
        try:
            function = self._function("normalise", ctypes.c_void_p, ctypes.c_int32)
        except AttributeError:
            raise InvalidInput(NOTHING_TO_NORMALISE) from None
        function(self._states, self._batch)

    def state(self) -> Arrays:
        arrays = {spec.name: np.empty(spec.shape(batch=self._batch), spec.dtype) for spec in self.contract.states}
        if arrays:
            store = self._function("store_state", ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p)
            store(self._states, self._batch, _pointers(arrays.values()))
        return arrays


def check_spikes(contract: Contract, state: Arrays) -> None:
    """Check the states that hold spikes, which C keeps as bytes. Raises InvalidInput if an element is neither 0 nor 1."""
    for spec in contract.states:
        array = state[spec.name]
        if spec.kind in ("previous", "window") and not ((array == 0) | (array == 1)).all():
            raise InvalidInput(f"state '{spec.name}' holds spikes: every element must be 0 or 1")


def _pointers(arrays: Iterable[Array]) -> Any:
    """The addresses of arrays, one after the other, as a struct of pointers has them."""
    addresses = [array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(addresses))(*addresses)
