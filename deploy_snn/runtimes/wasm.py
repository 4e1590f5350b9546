"""WebAssembly, run by Wasmtime. States, inputs and outputs are in the memory of the module."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import wasmtime

from deploy_snn.bundle import Bundle
from deploy_snn.contract import CONTRACT_KEY, Contract, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.runtimes.c import check_spikes
from deploy_snn.runtimes.runtime import NOTHING_TO_NORMALISE, Runtime
from deploy_snn.tensors import Array, Arrays
from deploy_snn.wasm_module import read_section

SECTION = "wasm"
MODULE = "model.wasm"
PAGE = 2**16
ALIGNMENT = 64
POINTER = 4

WINDOW = 2**20
"""A run hands over at most so many bytes of inputs and outputs at once, if a step does not take more."""


class WebAssembly(Runtime):
    """Runs the functions of ``model.wasm``. The module cannot reach anything outside its own memory."""

    files: ClassVar[tuple[str, ...]] = (MODULE,)

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        section = bundle.manifest.formats.get(SECTION, {})
        prefix, weights = section.get("prefix"), section.get("weights")
        if not isinstance(prefix, str) or not isinstance(weights, str):
            raise InvalidInput(f"{bundle.path}: the manifest has no valid section '{SECTION}': export the model again")
        path = bundle.file(MODULE)
        code = path.read_bytes()
        try:
            inside = read_section(code, CONTRACT_KEY)
        except InvalidInput as error:
            raise InvalidInput(f"Wasmtime cannot load {path}: {error}") from None
        bundle.check_contract(Contract.parse(inside, str(path)), MODULE)
        self._prefix = prefix
        self._weights = np.fromfile(bundle.file(weights), np.uint8) if weights else np.empty(0, np.uint8)
        self._store = wasmtime.Store()
        try:
            module = wasmtime.Module(self._store.engine, code)
            self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
            self._memory: Any = self._exports["memory"]
            self._free = int(self._exports["__heap_base"].value(self._store))  # type: ignore[union-attr]
            self._run: Any = self._exports[f"{prefix}_run"]
            self._row_bytes = int(self._call("state_size"))
        except wasmtime.WasmtimeError as error:
            raise InvalidInput(f"Wasmtime cannot load {path}: {first_line(error)}") from None
        except (KeyError, AttributeError):
            raise InvalidInput(f"{path} has no model '{prefix}'") from None
        self._batch = 0

    def _call(self, name: str, *arguments: int) -> Any:
        function: Any = self._exports[f"{self._prefix}_{name}"]
        return function(self._store, *arguments)

    def start(self, state: Arrays) -> None:
        check_tensors(self.contract.states, state, "state")
        sizes = [state[spec.name].shape[spec.batch_axis] for spec in self.contract.states if spec.batch_axis is not None]
        batch = int(sizes[0]) if sizes else 1
        if batch != self._batch:
            self._bind(batch)
        if not self.contract.states:
            return
        for spec, array in zip(self.contract.states, self._state_arrays, strict=True):
            array[...] = state[spec.name]
        if self._call("load_state", self._states, batch, self._state_pointers):
            check_spikes(self.contract, state)

    def _bind(self, batch: int) -> None:
        """Lay out the memory for a number of rows: parameters, states, and as many steps as a window holds."""
        contract, self._batch, self._end = self.contract, batch, self._free
        streams = (*contract.inputs, *contract.outputs)
        per_step = sum(math.prod(spec.shape(batch=batch)) * np.dtype(spec.dtype).itemsize for spec in streams)
        self._steps = max(1, WINDOW // max(per_step, 1))
        weights = self._reserve(self._weights.nbytes)
        self._states = self._reserve(batch * self._row_bytes)
        places = [self._place(spec, batch) for spec in contract.states]
        windows = [self._place(spec, batch, self._steps) for spec in streams]
        self._state_pointers, self._inputs_at, self._outputs_at = (
            self._reserve(POINTER * len(specs)) for specs in (contract.states, contract.inputs, contract.outputs)
        )
        self._grow()  # views of the memory before it grew would be invalid
        self._view(weights, self._weights.shape, np.uint8)[...] = self._weights
        self._view(self._states, (batch * self._row_bytes,), np.uint8)[...] = 0
        inputs = len(contract.inputs)
        for pointers, addresses in (
            (self._state_pointers, places),
            (self._inputs_at, windows[:inputs]),
            (self._outputs_at, windows[inputs:]),
        ):
            self._view(pointers, (len(addresses),), np.uint32)[...] = addresses
        for row in range(batch if self._weights.size else 0):
            self._call("set_weights", self._states + row * self._row_bytes, weights)
        self._state_arrays = [
            self._view(place, spec.shape(batch=batch), spec.dtype)
            for spec, place in zip(contract.states, places, strict=True)
        ]
        series = [
            (spec.name, self._view(place, (self._steps, *spec.shape(batch=batch)), spec.dtype))
            for spec, place in zip(streams, windows, strict=True)
        ]
        self._inputs, self._outputs = series[:inputs], series[inputs:]

    def _place(self, spec: TensorSpec, batch: int, steps: int = 1) -> int:
        return self._reserve(steps * math.prod(spec.shape(batch=batch)) * np.dtype(spec.dtype).itemsize)

    def _reserve(self, size: int) -> int:
        """The address of so many bytes, which `_grow` will have made part of the memory."""
        address = self._end + -self._end % ALIGNMENT
        self._end = address + size
        return address

    def _grow(self) -> None:
        missing = self._end - self._memory.data_len(self._store)
        try:
            if missing > 0:
                self._memory.grow(self._store, -(-missing // PAGE))
        except wasmtime.WasmtimeError:
            raise InvalidInput(
                f"batch {self._batch} takes {self._end} bytes, more than the memory of WebAssembly: pass fewer rows"
            ) from None

    def _view(self, address: int, shape: Sequence[int], dtype: Any) -> Array:
        """The memory from an address on, as an array. It is valid until the memory grows."""
        memory = np.ctypeslib.as_array(self._memory.data_ptr(self._store), (self._memory.data_len(self._store),))
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        found: Array = memory[address : address + size].view(kind).reshape(shape)
        return found

    def step(self, inputs: Arrays) -> Arrays:
        for name, window in self._inputs:
            given = inputs[name]
            if given.shape != window.shape[1:] or given.dtype != np.float32:
                check_tensors(self.contract.inputs, inputs, "input")
                self._rebatch(given)
                return self.step(inputs)
            window[0] = given
        self._run(self._store, self._states, self._batch, 1, self._inputs_at, self._outputs_at)
        return {name: window[0].copy() for name, window in self._outputs}

    def run(self, inputs: Arrays) -> Arrays:
        sizes = check_tensors([spec.in_time() for spec in self.contract.inputs], inputs, "input")
        if sizes["batch"] != self._batch:
            self._rebatch(next(iter(inputs.values()))[0])
        steps = sizes["time"]
        outputs = {name: np.empty((steps, *window.shape[1:]), window.dtype) for name, window in self._outputs}
        for first in range(0, steps, self._steps):
            count = min(self._steps, steps - first)
            for name, window in self._inputs:
                window[:count] = inputs[name][first : first + count]
            self._run(self._store, self._states, self._batch, count, self._inputs_at, self._outputs_at)
            for name, window in self._outputs:
                outputs[name][first : first + count] = window[:count]
        return outputs

    def _rebatch(self, array: Array) -> None:
        """Change to the batch size of the inputs. Possible only if the program has no state per row."""
        if any(spec.batch_axis is not None for spec in self.contract.states):
            raise InvalidInput(f"the inputs have batch {array.shape[0]}, but the state has batch {self._batch}")
        state = self.state() if self._batch else {}
        self._bind(array.shape[0])
        if state:
            self.start(state)

    def normalise(self) -> None:
        if self._exports.get(f"{self._prefix}_normalise") is None:
            raise InvalidInput(NOTHING_TO_NORMALISE)
        self._call("normalise", self._states, self._batch)

    def state(self) -> Arrays:
        if self.contract.states:
            self._call("store_state", self._states, self._batch, self._state_pointers)
        return {spec.name: view.copy() for spec, view in zip(self.contract.states, self._state_arrays, strict=True)}
