"""What Triton does with a model of its onnxruntime backend, as far as states go, over ONNX Runtime.

No tritonserver with that backend can be had from a package registry, so this stands in for it. It follows Triton's own
source, release 2.51 to today: SequenceBatchScheduler and SequenceStates in core (src/sequence_batch_scheduler,
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
    """A model folder, loaded as Triton loads it: what it would refuse raises AssertionError."""

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
        """One execution: requests of different sequences, joined where the configuration has a batch."""
        assert len(requests) <= max(1, self.config.max_batch_size)
        for request in requests:
            if request.start:  # UpdateImplicitState: whatever was there is dropped
                self.sequences[request.sequence] = self._first_values()
            assert request.sequence in self.sequences, "must specify the START flag on the first request of the sequence"
            for io in self.config.input:
                batch = [1] if self.config.max_batch_size else []  # "must specify batch-size 1"
                assert list(request.inputs[io.name].shape) == batch + list(io.dims), "unexpected shape for input"
        given = [request.inputs | self.sequences[request.sequence] for request in requests]
        # The collector puts the bytes of all requests one after the other, and the first axis is their number.
        feeds = {name: np.concatenate([arrays[name] for arrays in given]) for name in given[0]}
        outputs = [io.name for io in self.config.output]
        states = [state.output_name for state in self.batching.state]
        results = dict(zip(outputs + states, self.session.run(outputs + states, feeds), strict=True))
        for row, request in enumerate(requests):
            # OutputState: two std::maps, and std::advance by the same number of places.
            ordered = zip(sorted(state.input_name for state in self.batching.state), sorted(states), strict=True)
            self.sequences[request.sequence] = {name: self._part(results[output], row) for name, output in ordered}
        return [{name: self._part(results[name], row) for name in outputs} for row in range(len(requests))]

    def _part(self, array: Array, row: int) -> Array:
        return array[row : row + 1].copy() if self.config.max_batch_size else array

    def _first_values(self) -> Arrays:
        """GenerateInitialStateData: as many bytes of the file as the state takes."""
        first = {}
        for state in self.batching.state:
            (initial,) = state.initial_state
            assert initial.name
            assert initial.data_type == state.data_type
            shape = [1] * bool(self.config.max_batch_size) + list(initial.dims)
            data = (self.folder / "initial_state" / initial.data_file).read_bytes()
            first[state.input_name] = np.frombuffer(data, TYPES[state.data_type], int(np.prod(shape))).reshape(shape)
        return first
