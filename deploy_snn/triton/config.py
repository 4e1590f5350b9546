"""Triton's configuration of a model, from a bundle's contract, in the protobuf classes of Triton's client.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md; for states,
implicit_state_management.md in the same folder.
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
"""The maximum number of sequences in a batch."""

MAX_SEQUENCES = 10_000
"""The maximum number of sequences of an instance. Further ones wait until others end."""

IDLE_MICROSECONDS = 600 * 10**6
"""The time after which Triton ends an idle sequence. Triton's default is one second."""

TYPES = {"float32": pb.TYPE_FP32, "bool": pb.TYPE_BOOL}
BYTES = {pb.TYPE_FP32: 4, pb.TYPE_BOOL: 1}


def onnxruntime_config(name: str, contract: Contract) -> Any:
    """The configuration for the onnxruntime backend, where Triton keeps the states (implicit state).

    A sequence and its initial state have batch size 1. If the first axis of every tensor is the batch, Triton batches
    requests of different sequences, and ``dims`` are the axes after it. Otherwise Triton runs each request alone, and
    ``dims`` are all axes.

    Raises InvalidInput for tensors that Triton does not support.
    """
    tensors = contract.inputs + contract.outputs + contract.states
    batching = _leads_with_batch(tensors)
    config = _config(name, "onnxruntime", tensors, batching=batching)
    first = 1 if batching else 0
    for spec in contract.inputs:
        config.input.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, 1)[first:])
    for spec in contract.outputs:  # here dims must equal the graph's, -1 where it has an open axis
        config.output.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, -1)[first:])
    for spec in contract.states:
        dims, data_type = _dims(spec, 1)[first:], TYPES[spec.dtype]
        state = config.sequence_batching.state.add(
            input_name=spec.name, output_name=spec.next_name, data_type=data_type, dims=dims
        )
        state.initial_state.add(name=spec.name, data_type=data_type, dims=dims, data_file=data_file(spec))
    for key in ("intra_op_thread_count", "inter_op_thread_count"):  # a step is too small to run on several cores
        config.parameters[key].string_value = "1"
    return config


def python_config(name: str, contract: Contract) -> Any:
    """The configuration for the python backend, where ``model.py`` keeps the states. Noise inputs are optional.

    If rows share no state, Triton batches sequences of batch size 1. Otherwise a sequence has any batch size.

    Raises InvalidInput for tensors that Triton does not support.
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
    """The name of the file with a state's initial value (raw bytes, row-major), in the model's folder ``initial_state``."""
    return quote(spec.name, safe="") + ".raw"


def byte_size(data_type: int, dims: Iterable[int]) -> int:
    """The size of a tensor in bytes."""
    return BYTES[data_type] * math.prod(dims)


def _config(name: str, backend: str, tensors: tuple[TensorSpec, ...], *, batching: bool) -> Any:
    scalars = [spec.name for spec in tensors if not spec.axes]
    if scalars:
        raise InvalidInput(
            f"Triton's {backend} backend does not support {', '.join(scalars)}: a tensor needs at least one axis"
        )
    config = pb.ModelConfig(name=name, backend=backend, max_batch_size=MAX_BATCH if batching else 0)
    # Not `direct`: it reserves a row of the batch for each sequence until it ends, so that no more than MAX_BATCH sequences
    # can exist. No control inputs: Triton resets states at the start of a sequence without one, and `model.py` reads the
    # request's flags and its id, which may be an integer or a string.
    config.sequence_batching.oldest.max_candidate_sequences = MAX_SEQUENCES
    config.sequence_batching.max_sequence_idle_microseconds = IDLE_MICROSECONDS
    # By default Triton uses a GPU if there is one, where products are computed in TF32.
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
    return config


def _leads_with_batch(tensors: Iterable[TensorSpec]) -> bool:
    """Whether Triton can batch requests: the first axis of every tensor must be the batch, and not the only one."""
    return all(spec.axes[:1] == (BATCH,) and len(spec.axes) > 1 for spec in tensors)


def _dims(spec: TensorSpec, batch: int) -> list[int]:
    return [batch if axis.size is None else axis.size for axis in spec.axes]
