"""A model of Triton's python backend: steps a bundle's ONNX file and keeps the state of every sequence.

This file is copied into a model repository, so it imports nothing of deploy_snn. Beside the backend's own module it needs
numpy 1, onnxruntime and safetensors.
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from safetensors.numpy import load_file

Arrays = dict[str, NDArray[Any]]
SequenceId = int | str

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END

CONTRACT_VERSIONS = (1, 2)
"""The versions of the contract that this file reads. What it reads, names, roles and axes, is the same in both."""


class InvalidRequest(ValueError):
    """A request that cannot be stepped. Its stream is unchanged."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the contract. The batch axis is None in its ``shape``."""

    name: str
    role: str
    shape: tuple[int | None, ...]

    @property
    def batch_axis(self) -> int | None:
        """The place of the batch axis, or None for a state that all rows share."""
        return self.shape.index(None) if None in self.shape else None


@dataclass(frozen=True)
class Stream:
    """The current state of a sequence."""

    batch: int
    state: Arrays
    generator: np.random.Generator
    last_used: float


@dataclass(frozen=True)
class PreparedStep:
    """A valid request: all its inputs, noise included, and the stream that they step."""

    sequence: SequenceId
    inputs: Arrays
    stream: Stream


def read_tensors(metadata: dict[str, str]) -> list[Tensor]:
    """Read the contract's tensors from an ONNX file's metadata.

    Raises TritonModelException for a file without a contract, or with a contract of a newer version.
    """
    if "deploy_snn.contract" not in metadata:
        raise pb_utils.TritonModelException(
            "model.onnx has no contract: write the model repository again with deploy-snn triton"
        )
    contract = json.loads(metadata["deploy_snn.contract"])
    version = contract.get("contract_version", 1)  # version 1 had no version number
    if version not in CONTRACT_VERSIONS:
        raise pb_utils.TritonModelException(
            f"model.onnx has contract version {version}, and this model.py reads versions {CONTRACT_VERSIONS[0]} to "
            f"{CONTRACT_VERSIONS[-1]}: write the model repository again with the deploy_snn that exported the bundle"
        )
    return [
        Tensor(spec["name"], spec["role"], tuple(axis["size"] for axis in spec["axes"])) for spec in contract["tensors"]
    ]


class TritonPythonModel:
    """The interface of the backend: it calls ``initialize`` once, and ``execute`` with requests of different sequences.

    The sequence of a request is its correlation id and flags. Control inputs are not used: a control input has one type,
    and Triton copies the bytes of ids of other types into it without an error.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model beside this file. Raises TritonModelException if it cannot be served correctly."""
        if int(np.__version__.partition(".")[0]) > 1:  # the backend's pybind11 2.10 misreads its arrays, without an error
            raise pb_utils.TritonModelException(
                f"Triton's python backend misreads numpy {np.__version__}: install 'numpy<2'"
            )
        folder = Path(args["model_repository"]) / args["model_version"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        tensors = read_tensors(self.session.get_modelmeta().custom_metadata_map)
        self.inputs = [tensor for tensor in tensors if tensor.role in ("drive", "noise", "reward")]
        self.batch_axes = {tensor.name: tensor.shape.index(None) for tensor in self.inputs}
        self.states = [tensor for tensor in tensors if tensor.role == "state"]
        self.outputs = [tensor for tensor in tensors if tensor.role in ("spikes", "record")]
        self.couples_batch = any(tensor.batch_axis is None for tensor in self.states)
        self.initial_rows = load_file(folder / "initial_state.safetensors")
        batching = json.loads(args["model_config"])["sequence_batching"]
        self.idle_timeout = 2e-6 * int(batching["max_sequence_idle_microseconds"])
        self.streams: dict[SequenceId, Stream] = {}  # in the order of their last use

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response to each request; one that fails does not affect the others. Each is of another sequence."""
        self._drop_idle()
        responses: dict[int, Any] = {}
        steps: dict[int, PreparedStep] = {}
        for index, request in enumerate(requests):
            try:
                steps[index] = self._prepare(request)
            except InvalidRequest as error:
                responses[index] = _error_response(error, pb_utils.TritonError.INVALID_ARG)
        for batch in [[index] for index in steps] if self.couples_batch else [list(steps)]:
            results = self._step_or_fail([steps[index] for index in batch]) if batch else []
            responses |= dict(zip(batch, results, strict=True))
        for request in requests:
            if request.flags() & END:  # even if it failed: Triton has ended the sequence
                self.streams.pop(request.correlation_id(), None)
        return [responses[index] for index in range(len(requests))]

    def _prepare(self, request: Any) -> PreparedStep:
        """Check a request against its stream and draw the noise that it omits. Triton has checked shapes and types."""
        sequence: SequenceId = request.correlation_id()
        inputs: Arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        missing = [tensor for tensor in self.inputs if tensor.name not in inputs]
        for tensor in missing:  # with optional inputs, Triton checks their number only
            if tensor.role != "noise":
                raise InvalidRequest(f"input '{tensor.name}' is missing")
        for name, array in inputs.items():
            if not np.isfinite(array).all():
                raise InvalidRequest(f"input '{name}' contains NaN or infinity")
        batches = {array.shape[self.batch_axes[name]] for name, array in inputs.items()}
        if len(batches) != 1 or 0 in batches:
            raise InvalidRequest(f"the inputs have batch sizes {sorted(batches)}; expected one size, at least 1")
        batch = batches.pop()
        stream = self._new_stream(sequence, batch, request) if request.flags() & START else self.streams.get(sequence)
        if stream is None:
            raise InvalidRequest(
                f"sequence {sequence!r} has no stream here: it was not started with sequence_start, or it has ended"
            )
        if stream.batch != batch:
            raise InvalidRequest(f"the inputs have batch size {batch}, but the stream has batch size {stream.batch}")
        generator = copy.deepcopy(stream.generator)
        for tensor in missing:
            shape = [batch if size is None else size for size in tensor.shape]
            inputs[tensor.name] = generator.random(shape, np.float32)
        return PreparedStep(sequence, inputs, Stream(batch, stream.state, generator, monotonic()))

    def _new_stream(self, sequence: SequenceId, batch: int, request: Any) -> Stream:
        """Create a stream before its first step. Without a seed, its name is the seed, as in server/stream.py."""
        seed = json.loads(request.parameters() or "{}").get("seed")
        if seed is None:
            seed = int.from_bytes(hashlib.sha256(repr(sequence).encode()).digest()[:8], "big")
        if type(seed) is not int or not 0 <= seed < 2**64:
            raise InvalidRequest("seed: expected a whole number from 0 to 2**64 - 1")
        state = {
            tensor.name: np.repeat(self.initial_rows[tensor.name], batch, tensor.batch_axis)
            if tensor.batch_axis is not None
            else self.initial_rows[tensor.name]
            for tensor in self.states
        }
        return Stream(batch, state, np.random.Generator(np.random.PCG64(seed)), monotonic())

    def _step_or_fail(self, steps: list[PreparedStep]) -> list[Any]:
        """Step streams together; if that fails, each alone, so that only the faulty requests fail."""
        try:
            return self._step(steps)
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's exceptions share no base class)
            if len(steps) == 1:
                return [_error_response(error, pb_utils.TritonError.INTERNAL)]
            return [response for step in steps for response in self._step_or_fail([step])]

    def _step(self, steps: list[PreparedStep]) -> list[Any]:
        arrays = [step.inputs | step.stream.state for step in steps]
        feeds = {
            tensor.name: _concatenate(tensor, [each[tensor.name] for each in arrays])
            for tensor in (*self.inputs, *self.states)
        }
        bounds = list(np.cumsum([step.stream.batch for step in steps]))[:-1]
        names = [(tensor, tensor.name) for tensor in self.outputs] + [
            (tensor, f"next.{tensor.name}") for tensor in self.states
        ]
        results = self.session.run([name for _, name in names], feeds)
        split = {name: _split(tensor, result, bounds) for (tensor, name), result in zip(names, results, strict=True)}
        responses = []
        for index, step in enumerate(steps):
            state = {tensor.name: split[f"next.{tensor.name}"][index] for tensor in self.states}
            self.streams.pop(step.sequence, None)
            self.streams[step.sequence] = Stream(step.stream.batch, state, step.stream.generator, step.stream.last_used)
            outputs = [pb_utils.Tensor(tensor.name, split[tensor.name][index]) for tensor in self.outputs]
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses

    def _drop_idle(self) -> None:
        """Drop idle streams. Triton has ended their sequences, after half this time and without notice."""
        since = monotonic() - self.idle_timeout
        while self.streams and next(iter(self.streams.values())).last_used < since:
            self.streams.pop(next(iter(self.streams)))


def _concatenate(tensor: Tensor, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if tensor.batch_axis is None or len(arrays) == 1 else np.concatenate(arrays, tensor.batch_axis)


def _split(tensor: Tensor, array: NDArray[Any], bounds: list[int]) -> list[NDArray[Any]]:
    """Copy each stream's rows: a view would keep the whole batch in memory."""
    if tensor.batch_axis is None or not bounds:
        return [array]
    return [rows.copy() for rows in np.split(array, bounds, tensor.batch_axis)]


def _error_response(error: Exception, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
