"""Triton's python backend runs this file: it steps a bundle's ONNX file and keeps a state for every sequence.

It stands in a model repository by itself and imports nothing of deploy_snn. Beside the backend's own module it needs
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
Sequence = int | str

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END


class Refused(ValueError):
    """A request that cannot be stepped. Its stream is where it was."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the contract. ``shape`` has None where the batch stands."""

    name: str
    role: str
    shape: tuple[int | None, ...]

    @property
    def batch_axis(self) -> int | None:
        """Where the batch stands, or None for a state that the rows share."""
        return self.shape.index(None) if None in self.shape else None


@dataclass(frozen=True)
class Stream:
    """Where a sequence stands."""

    batch: int
    state: Arrays
    generator: np.random.Generator
    used: float


@dataclass(frozen=True)
class Step:
    """What a request asks for: its inputs, noise and all, and the stream that they step."""

    sequence: Sequence
    inputs: Arrays
    stream: Stream


class TritonPythonModel:
    """What the backend calls: ``initialize`` once, and ``execute`` with requests of different sequences.

    Sequences are told apart by the requests' own correlation ids and flags. A control input would have one type, and
    Triton copies the bytes of an id of another type into it all the same.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model beside this file. Raises TritonModelException where inputs would arrive wrong."""
        if int(np.__version__.partition(".")[0]) > 1:  # the pybind11 2.10 inside reads their layout wrong, and goes on
            raise pb_utils.TritonModelException(
                f"Triton's python backend misreads numpy {np.__version__}: install 'numpy<2'"
            )
        folder = Path(args["model_repository"]) / args["model_version"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        contract = json.loads(self.session.get_modelmeta().custom_metadata_map["deploy_snn.contract"])
        tensors = [
            Tensor(spec["name"], spec["role"], tuple(axis["size"] for axis in spec["axes"])) for spec in contract["tensors"]
        ]
        self.inputs = [tensor for tensor in tensors if tensor.role in ("drive", "noise")]
        self.batch_axes = {tensor.name: tensor.shape.index(None) for tensor in self.inputs}
        self.states = [tensor for tensor in tensors if tensor.role == "state"]
        self.outputs = [tensor for tensor in tensors if tensor.role in ("spikes", "record")]
        self.couples_batch = any(tensor.batch_axis is None for tensor in self.states)
        self.initial_rows = load_file(folder / "initial_state.safetensors")
        batching = json.loads(args["model_config"])["sequence_batching"]
        self.idle_timeout = 2e-6 * int(batching["max_sequence_idle_microseconds"])
        self.streams: dict[Sequence, Stream] = {}  # the one that has rested longest first

    def execute(self, requests: list[Any]) -> list[Any]:
        """An answer to each request: what fails, fails alone. No two are of one sequence, as Triton sees to it."""
        self._forget_idle()
        answers: dict[int, Any] = {}
        steps: dict[int, Step] = {}
        for place, request in enumerate(requests):
            try:
                steps[place] = self._prepare(request)
            except Refused as error:
                answers[place] = _failure(error, pb_utils.TritonError.INVALID_ARG)
        for places in [[place] for place in steps] if self.couples_batch else [list(steps)]:
            results = self._attempt([steps[place] for place in places]) if places else []
            answers |= dict(zip(places, results, strict=True))
        for request in requests:
            if request.flags() & END:  # whatever became of it, Triton lets nobody go on with this sequence
                self.streams.pop(request.correlation_id(), None)
        return [answers[place] for place in range(len(requests))]

    def _prepare(self, request: Any) -> Step:
        """Hold a request against its stream, and draw the noise that it leaves out. Shapes and types Triton has checked."""
        sequence: Sequence = request.correlation_id()
        inputs: Arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        missing = [tensor for tensor in self.inputs if tensor.name not in inputs]
        for tensor in missing:  # Triton counts inputs where some may be left out, and does not look which
            if tensor.role != "noise":
                raise Refused(f"input '{tensor.name}' is missing")
        for name, array in inputs.items():
            if not np.isfinite(array).all():
                raise Refused(f"input '{name}' holds NaN or an infinity")
        batches = {array.shape[self.batch_axes[name]] for name, array in inputs.items()}
        if len(batches) != 1 or 0 in batches:
            raise Refused(f"inputs have batches of {sorted(batches)}; expected one size, of at least 1")
        batch = batches.pop()
        stream = self._begin(sequence, batch, request) if request.flags() & START else self.streams.get(sequence)
        if stream is None:
            raise Refused(
                f"sequence {sequence!r} has no stream here: it was not started with sequence_start, or it has ended"
            )
        if stream.batch != batch:
            raise Refused(f"inputs have a batch of {batch}, and the stream one of {stream.batch}")
        generator = copy.deepcopy(stream.generator)
        for tensor in missing:
            shape = [batch if size is None else size for size in tensor.shape]
            inputs[tensor.name] = generator.random(shape, np.float32)
        return Step(sequence, inputs, Stream(batch, stream.state, generator, monotonic()))

    def _begin(self, sequence: Sequence, batch: int, request: Any) -> Stream:
        """A stream at its beginning. Its seed follows from its name, as in deploy_snn/server/stream.py."""
        seed = json.loads(request.parameters() or "{}").get("seed")
        if seed is None:
            seed = int.from_bytes(hashlib.sha256(repr(sequence).encode()).digest()[:8], "big")
        if type(seed) is not int or not 0 <= seed < 2**64:
            raise Refused("seed: expected a whole number from 0 to 2**64 - 1")
        state = {
            tensor.name: np.repeat(self.initial_rows[tensor.name], batch, tensor.batch_axis)
            if tensor.batch_axis is not None
            else self.initial_rows[tensor.name]
            for tensor in self.states
        }
        return Stream(batch, state, np.random.Generator(np.random.PCG64(seed)), monotonic())

    def _attempt(self, steps: list[Step]) -> list[Any]:
        """Step streams together or, where that fails, each by itself, so that only those at fault are told so."""
        try:
            return self._step(steps)
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's exceptions share no base class)
            if len(steps) == 1:
                return [_failure(error, pb_utils.TritonError.INTERNAL)]
            return [answer for step in steps for answer in self._attempt([step])]

    def _step(self, steps: list[Step]) -> list[Any]:
        given = [step.inputs | step.stream.state for step in steps]
        feeds = {
            tensor.name: _gather(tensor, [arrays[tensor.name] for arrays in given])
            for tensor in (*self.inputs, *self.states)
        }
        bounds = list(np.cumsum([step.stream.batch for step in steps]))[:-1]
        taken = [(tensor, tensor.name) for tensor in self.outputs] + [
            (tensor, f"next.{tensor.name}") for tensor in self.states
        ]
        results = self.session.run([name for _, name in taken], feeds)
        dealt = {name: _deal(tensor, result, bounds) for (tensor, name), result in zip(taken, results, strict=True)}
        answers = []
        for index, step in enumerate(steps):
            state = {tensor.name: dealt[f"next.{tensor.name}"][index] for tensor in self.states}
            self.streams.pop(step.sequence, None)
            self.streams[step.sequence] = Stream(step.stream.batch, state, step.stream.generator, step.stream.used)
            outputs = [pb_utils.Tensor(tensor.name, dealt[tensor.name][index]) for tensor in self.outputs]
            answers.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return answers

    def _forget_idle(self) -> None:
        """Forget streams that Triton has given up. It does not say so, but after half this time it lets none go on."""
        since = monotonic() - self.idle_timeout
        while self.streams and next(iter(self.streams.values())).used < since:
            self.streams.pop(next(iter(self.streams)))


def _gather(tensor: Tensor, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if tensor.batch_axis is None or len(arrays) == 1 else np.concatenate(arrays, tensor.batch_axis)


def _deal(tensor: Tensor, array: NDArray[Any], bounds: list[int]) -> list[NDArray[Any]]:
    """Each stream's rows, in memory of their own: a view would keep the whole batch alive."""
    if tensor.batch_axis is None or not bounds:
        return [array]
    return [rows.copy() for rows in np.split(array, bounds, tensor.batch_axis)]


def _failure(error: Exception, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
