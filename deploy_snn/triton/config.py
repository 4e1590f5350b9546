"""Triton's configuration of a model, from a bundle's contract, in the classes of Triton's own client.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md and, for what is said
of states, implicit_state_management.md beside it.
"""

import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from tritonclient.grpc import model_config_pb2 as pb

from deploy_snn.contract import BATCH, Contract, Role, TensorSpec
from deploy_snn.errors import InvalidInput

CONFIG = "config.pbtxt"
VERSION = "1"
MODEL = "model.onnx"
INITIAL_STATE = "initial_state"

MAX_BATCH = 64
"""Sequences that are stepped together."""

MAX_SEQUENCES = 10_000
"""Sequences that an instance keeps; more of them wait until others end."""

IDLE_MICROSECONDS = 600 * 10**6
"""How long a sequence may rest before Triton gives it up. Triton's own default is one second."""

TYPES = {"float32": pb.TYPE_FP32, "bool": pb.TYPE_BOOL}
BYTES = {pb.TYPE_FP32: 4, pb.TYPE_BOOL: 1}


def onnxruntime_config(name: str, contract: Contract) -> Any:
    """For the onnxruntime backend: Triton keeps the states (implicit state) and feeds them to the graph.

    A sequence is of batch 1, as is its initial state. Where every tensor has its batch axis in front, Triton puts the
    rows of different sequences together; where one has not, it runs each request alone, and dims are whole shapes.

    Raises InvalidInput for tensors that Triton cannot carry.
    """
    tensors = contract.inputs + contract.outputs + contract.states
    batching = _leads_with_batch(tensors)
    config = _config(name, "onnxruntime", tensors, batching=batching)
    first = 1 if batching else 0
    for spec in contract.inputs:
        config.input.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, 1)[first:])
    for spec in contract.outputs:  # whose dims must be the graph's to the letter, open ones open
        config.output.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, -1)[first:])
    for spec in contract.states:
        dims, data_type = _dims(spec, 1)[first:], TYPES[spec.dtype]
        state = config.sequence_batching.state.add(
            input_name=spec.name, output_name=spec.next_name, data_type=data_type, dims=dims
        )
        state.initial_state.add(name=spec.name, data_type=data_type, dims=dims, data_file=data_file(spec))
    for key in ("intra_op_thread_count", "inter_op_thread_count"):  # a step is too small a thing to share between cores
        config.parameters[key].string_value = "1"
    return config


def python_config(name: str, contract: Contract) -> Any:
    """For the python backend, whose ``model.py`` keeps the states itself; noise may be left out.

    Where rows share no state, Triton puts sequences of batch 1 together; otherwise a sequence has a batch of any size.

    Raises InvalidInput for tensors that Triton cannot carry.
    """
    tensors = contract.inputs + contract.outputs
    batching = _leads_with_batch(tensors) and not contract.couples_batch
    config = _config(name, "python", tensors, batching=batching)
    first = 1 if batching else 0
    for spec in contract.inputs:
        dims, optional = _dims(spec, -1)[first:], spec.role is Role.NOISE
        config.input.add(name=spec.name, data_type=TYPES[spec.dtype], dims=dims, optional=optional)
    for spec in contract.outputs:
        config.output.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, -1)[first:])
    return config


def data_file(spec: TensorSpec) -> str:
    """The file, in the model's folder ``initial_state``, with a state's first value: raw bytes, row-major."""
    return quote(spec.name, safe="") + ".raw"


def byte_size(data_type: int, dims: Iterable[int]) -> int:
    """What a tensor takes in memory."""
    return BYTES[data_type] * math.prod(dims)


def _config(name: str, backend: str, tensors: tuple[TensorSpec, ...], *, batching: bool) -> Any:
    bare = [spec.name for spec in tensors if not spec.axes]
    if bare:
        raise InvalidInput(f"Triton's {backend} backend cannot carry {', '.join(bare)}: a tensor needs at least one axis")
    config = pb.ModelConfig(name=name, backend=backend, max_batch_size=MAX_BATCH if batching else 0)
    # Not `direct`: that gives a sequence a row of the batch for as long as it lives, and so keeps no more than MAX_BATCH
    # sequences at a time. No control inputs: states begin anew at a sequence's start without one, and `model.py` reads a
    # request's own flags and id, which may be an integer or a string.
    config.sequence_batching.oldest.max_candidate_sequences = MAX_SEQUENCES
    config.sequence_batching.max_sequence_idle_microseconds = IDLE_MICROSECONDS
    # Said, as Triton takes a GPU where it finds one, and there multiplies in TF32.
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
    return config


def _leads_with_batch(tensors: Iterable[TensorSpec]) -> bool:
    """Whether Triton can join rows: it puts a batch axis in front of every tensor, and dims must be left over."""
    return all(spec.axes[:1] == (BATCH,) and len(spec.axes) > 1 for spec in tensors)


def _dims(spec: TensorSpec, batch: int) -> list[int]:
    return [batch if axis.size is None else axis.size for axis in spec.axes]
