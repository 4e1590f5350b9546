"""ONNX Runtime on the CPU. Between steps the state stays in two sets of OrtValues, which alternate as input and output."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from deploy_snn.bundle import Bundle
from deploy_snn.contract import CONTRACT_KEY, Contract, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.runtimes.graph_names import check_graph_names
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Array, Arrays

STEP = "step.onnx"
SEQUENCE = "sequence.onnx"
NORMALISE = "normalise.onnx"

BORROW = 32 * 2**10
"""From this size in bytes, a CPU input is bound to the caller's memory, because binding costs less than a copy."""

Providers = list[str | tuple[str, dict[str, str]]]


class OnnxRuntimeCpu(Runtime):
    """Runs ``step.onnx`` and ``sequence.onnx`` on one core: a step is too small to split between cores."""

    files: ClassVar[tuple[str, ...]] = (STEP, SEQUENCE)
    step_file: ClassVar[str] = STEP
    device: ClassVar[str] = "cpu"
    providers: ClassVar[Providers] = ["CPUExecutionProvider"]

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        self._session = self._open(self.step_file)
        self._batch = 0

    def _open(self, name: str) -> Any:
        """Create a session. Raises InvalidInput if the file cannot be loaded, Unavailable if the provider is not used."""
        path = self.bundle.file(name)
        try:
            session = self._create_session(name)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  (its exceptions share no base class)
            raise InvalidInput(f"ONNX Runtime cannot load {path}: {first_line(error)}") from None
        provider = self.providers[0] if isinstance(self.providers[0], str) else self.providers[0][0]
        if session.get_providers()[0] != provider:
            raise Unavailable(f"ONNX Runtime cannot use {provider} and fell back to {session.get_providers()}")
        inside = session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY, "")
        self.bundle.check_contract(Contract.parse(inside, str(path)), name)
        if name in (self.step_file, SEQUENCE):
            check_graph_names(self.contract, (output.name for output in session.get_outputs()), path)
        return session

    def _create_session(self, name: str) -> Any:
        return create_session(self._model(name), self.providers)

    def _model(self, name: str) -> Path | bytes:
        """The model of a session: the path of its file, or its bytes."""
        return self.bundle.file(name)

    @cached_property
    def _sequence(self) -> Any:
        return self._open(SEQUENCE)

    @cached_property
    def _normalise(self) -> Any:
        return self._open(NORMALISE)

    def start(self, state: Arrays) -> None:
        check_tensors(self.contract.states, state, "state")
        batch = self._batch_of(state)
        if batch != self._batch:
            self._bind(batch)
        for name, array in state.items():
            self._states[self._phase][name].update_inplace(np.ascontiguousarray(array))

    def _batch_of(self, state: Arrays) -> int:
        sizes = [state[spec.name].shape[spec.batch_axis] for spec in self.contract.states if spec.batch_axis is not None]
        return int(sizes[0]) if sizes else 1

    def _bind(self, batch: int) -> None:
        """Allocate two buffers for each state, and bind the session twice: from the first to the second, and back."""
        contract, self._batch, self._phase = self.contract, batch, 0
        self._inputs = {spec.name: self._buffer(spec, batch, self.device) for spec in contract.inputs}
        self._expected = [(spec.name, spec.shape(batch=batch), np.dtype(spec.dtype)) for spec in contract.inputs]
        # Outputs are read after every step, so they are written directly to host arrays that share memory with OrtValues.
        self._outputs = {spec.name: np.zeros(spec.shape(batch=batch), spec.dtype) for spec in contract.outputs}
        self._states = [{spec.name: self._buffer(spec, batch, self.device) for spec in contract.states} for _ in range(2)]
        self._bindings = []
        for before, after in (self._states, reversed(self._states)):
            binding = self._session.io_binding()
            for name, value in (*self._inputs.items(), *before.items()):
                binding.bind_ortvalue_input(name, value)
            self._bind_outputs(binding)
            for spec in contract.states:
                binding.bind_ortvalue_output(spec.next_name, after[spec.name])
            self._bindings.append(binding)

    def _bind_outputs(self, binding: Any) -> None:
        for name, array in self._outputs.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))

    @staticmethod
    def _buffer(spec: TensorSpec, batch: int, device: str) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(np.zeros(spec.shape(batch=batch), spec.dtype), device, 0)

    def step(self, inputs: Arrays) -> Arrays:
        binding = self._bindings[self._phase]
        for name, shape, dtype in self._expected:
            array = inputs[name]
            if array.shape != shape or array.dtype != dtype:  # update_inplace would misread the bytes
                check_tensors(self.contract.inputs, inputs, "input")
                self._rebatch(array)
                return self.step(inputs)
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            if self.device == "cpu" and array.nbytes >= BORROW:
                binding.bind_cpu_input(name, array)
            else:
                self._inputs[name].update_inplace(array)
        self._call(self._session, binding)
        self._phase = 1 - self._phase
        return self._read_outputs()

    def _call(self, session: Any, binding: Any) -> None:
        session.run_with_iobinding(binding)

    def _read_outputs(self) -> Arrays:
        return {name: array.copy() for name, array in self._outputs.items()}

    def run(self, inputs: Arrays) -> Arrays:
        check_tensors((spec.in_time() for spec in self.contract.inputs), inputs, "input")
        array = next(iter(inputs.values()))
        if array.shape[1] != self._batch:
            self._rebatch(array[0])
        before, after = self._states[self._phase], self._states[1 - self._phase]
        binding = self._sequence.io_binding()
        for name, sequence in inputs.items():
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(sequence), self.device, 0)
            binding.bind_ortvalue_input(name, value)
        for name, value in before.items():
            binding.bind_ortvalue_input(name, value)
        for spec in self.contract.outputs:
            binding.bind_output(spec.name, "cpu")
        for spec in self.contract.states:
            binding.bind_ortvalue_output(spec.next_name, after[spec.name])
        self._call(self._sequence, binding)
        self._phase = 1 - self._phase
        names = [spec.name for spec in self.contract.outputs]
        return {name: value.numpy() for name, value in zip(names, binding.get_outputs(), strict=False)}

    def _rebatch(self, array: Array) -> None:
        """Change to the batch size of the inputs. Possible only if the program has no state per row."""
        if any(spec.batch_axis is not None for spec in self.contract.states):
            raise InvalidInput(f"the inputs have batch {array.shape[0]}, but the state has batch {self._batch}")
        self._bind(array.shape[0])

    def scaled_weights(self, state: Arrays) -> Arrays:
        if NORMALISE not in self.bundle.manifest.files:
            return {}
        weights = self.contract.weights
        results = self._normalise.run(
            [spec.next_name for spec in weights], {spec.name: state[spec.name] for spec in weights}
        )
        return dict(zip([spec.name for spec in weights], results, strict=True))

    def state(self) -> Arrays:
        return {name: value.numpy().copy() for name, value in self._states[self._phase].items()}


def create_session(model: Path | bytes, providers: Providers) -> Any:
    """Create a session of one thread. Raises the error of ONNX Runtime, of no common base class."""
    # With its fallback, ONNX Runtime prints the cause on stdout and tries again on the CPU.
    return ort.InferenceSession(model, session_options(), providers=providers, enable_fallback=0)


def session_options() -> Any:
    """The options of a session of one thread, which logs nothing, as errors are raised as exceptions."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options
