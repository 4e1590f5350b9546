"""Simulate how Triton keeps implicit state for its onnxruntime backend, on ONNX Runtime.

No package registry has a tritonserver with that backend, so this simulation replaces it. It follows Triton's own
source, since release 2.51: SequenceBatchScheduler and SequenceStates in core (src/sequence_batch_scheduler,
src/sequence_state.cc), ModelInstanceState in onnxruntime_backend (src/onnxruntime.cc). It shares no code with the lint.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deploy_snn.tensors import Array, Arrays

TYPES = {pb.TYPE_FP32: np.dtype("<f4"), pb.TYPE_BOOL: np.dtype("?")}


@dataclass(frozen=True)
class Request:
    sequence: int | str
    inputs: Arrays
    start: bool = False


class ImplicitState:
    """A model folder, loaded as Triton loads it. Raises AssertionError where Triton would reject the model."""

    def __init__(self, folder: Path) -> None:
        self.config = text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())
        self.batching = self.config.sequence_batching
        self.folder = folder
        self.session = ort.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
        self.sequences: dict[int | str, Arrays] = {}
        names = {value.name for value in self.session.get_inputs()}
        assert len(self.config.input) + len(self.batching.state) == len(names)  # "configuration expects ... inputs"
        assert {io.name for io in self.config.input} <= names

    def infer(self, requests: list[Request]) -> list[Arrays]:
        """Execute requests of different sequences together, as one batch if the configuration has a batch axis."""
        assert len(requests) <= max(1, self.config.max_batch_size)
        for request in requests:
            if request.start:  # UpdateImplicitState: an earlier state is dropped
                self.sequences[request.sequence] = self._initial_state()
            assert request.sequence in self.sequences, "must specify the START flag on the first request of the sequence"
            for io in self.config.input:
                batch = [1] if self.config.max_batch_size else []  # "must specify batch-size 1"
                assert list(request.inputs[io.name].shape) == batch + list(io.dims), "unexpected shape for input"
        given = [request.inputs | self.sequences[request.sequence] for request in requests]
        # The collector concatenates the inputs of all requests along the first axis.
        feeds = {name: np.concatenate([arrays[name] for arrays in given]) for name in given[0]}
        outputs = [io.name for io in self.config.output]
        states = [state.output_name for state in self.batching.state]
        results = dict(zip(outputs + states, self.session.run(outputs + states, feeds), strict=True))
        for row, request in enumerate(requests):
            # OutputState: Triton pairs two std::maps by position.
            ordered = zip(sorted(state.input_name for state in self.batching.state), sorted(states), strict=True)
            self.sequences[request.sequence] = {name: self._row(results[output], row) for name, output in ordered}
        return [{name: self._row(results[name], row) for name in outputs} for row in range(len(requests))]

    def _row(self, array: Array, row: int) -> Array:
        return array[row : row + 1].copy() if self.config.max_batch_size else array

    def _initial_state(self) -> Arrays:
        """GenerateInitialStateData: read as many bytes of the file as the state needs."""
        first = {}
        for state in self.batching.state:
            (initial,) = state.initial_state
            assert initial.name
            assert initial.data_type == state.data_type
            shape = [1] * bool(self.config.max_batch_size) + list(initial.dims)
            data = (self.folder / "initial_state" / initial.data_file).read_bytes()
            first[state.input_name] = np.frombuffer(data, TYPES[state.data_type], int(np.prod(shape))).reshape(shape)
        return first
