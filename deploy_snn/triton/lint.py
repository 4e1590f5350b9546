"""Reads a model's folder back, as Triton will, and says whether every state would go in where it ought to.

Triton would not: a wrong pair of states, or a first value of the wrong file, runs and is wrong.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import onnx
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import model_config_pb2 as pb

from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.errors import InvalidInput
from deploy_snn.triton.config import CONFIG, INITIAL_STATE, MODEL, VERSION, byte_size

ELEMENTS = {onnx.TensorProto.FLOAT: pb.TYPE_FP32, onnx.TensorProto.BOOL: pb.TYPE_BOOL}


@dataclass(frozen=True)
class Graph:
    """An ONNX file's contract, and its inputs and outputs as Triton sees them: element type and shape, -1 for any size."""

    contract: Contract
    inputs: Mapping[str, tuple[int, list[int]]]
    outputs: Mapping[str, tuple[int, list[int]]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidInput for a file that is no ONNX file of ours."""
        try:
            model = onnx.load(path)
        except (OSError, DecodeError) as error:
            raise InvalidInput(f"{path} cannot be read: {error}") from None
        inside = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.parse(inside.get(CONTRACT_KEY, ""), str(path))
        return cls(contract, _described(model.graph.input), _described(model.graph.output))


def read_config(folder: Path) -> Any:
    """A model's ``config.pbtxt``, parsed by Triton's own protocol. Raises InvalidInput for anything else."""
    try:
        return text_format.Parse((folder / CONFIG).read_text(), pb.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InvalidInput(f"{folder / CONFIG} cannot be read: {error}") from None


def lint(folder: Path) -> list[str]:
    """What is wrong with a model's folder, a sentence each. Raises InvalidInput for a file that cannot be read at all."""
    config, graph = read_config(folder), Graph.read(folder / VERSION / MODEL)
    found = [*_coverage(config, graph), *_shapes(config, graph), *_pairing(config, graph), *_first_values(config, folder)]
    if config.name != folder.name:
        found.append(f"the model is named '{config.name}', and its folder '{folder.name}'")
    return found


def sorted_pairs(config: Any) -> list[tuple[str, str]]:
    """Which output Triton feeds into which input: of two std::maps, the n-th of one into the n-th of the other.

    SequenceStates::OutputState in triton-inference-server/core, src/sequence_state.cc.
    """
    states = config.sequence_batching.state
    ordered = (sorted(names, key=str.encode) for names in ([s.input_name for s in states], [s.output_name for s in states]))
    return list(zip(*ordered, strict=True))


def _described(values: Any) -> dict[str, tuple[int, list[int]]]:
    return {
        value.name: (
            ELEMENTS.get(value.type.tensor_type.elem_type, pb.TYPE_INVALID),
            [size.dim_value if size.HasField("dim_value") else -1 for size in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def _keeps_states(config: Any) -> bool:
    """Whether Triton keeps the states, and not the model itself."""
    return bool(config.backend == "onnxruntime")


def _coverage(config: Any, graph: Graph) -> Iterator[str]:
    """Each input and output of the graph stands in the configuration, once and as what it is."""
    contract, batching = graph.contract, config.sequence_batching
    own = () if _keeps_states(config) else contract.states
    inputs = [*(io.name for io in config.input), *(control.name for control in batching.control_input)]
    inputs += [*(state.input_name for state in batching.state), *(spec.name for spec in own)]
    outputs = [io.name for io in config.output]
    outputs += [*(state.output_name for state in batching.state), *(spec.next_name for spec in own)]
    for what, names, there in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
        counts = Counter(names)
        for name in sorted(counts.keys() | there.keys()):
            if counts[name] != (name in there):
                yield f"{what} '{name}' is listed {counts[name]} times, and the graph has {int(name in there)} of it"
    for what, ios, specs in (("input", config.input, contract.inputs), ("output", config.output, contract.outputs)):
        for name in sorted({io.name for io in ios} ^ {spec.name for spec in specs}):
            yield f"'{name}' is an {what} of the configuration or of the contract, and not of both"


def _shapes(config: Any, graph: Graph) -> Iterator[str]:
    """Element types and shapes are the graph's: an output's to the letter, an input's where the graph says something."""
    states = config.sequence_batching.state
    given = [(io.name, io, graph.inputs, False) for io in config.input]
    given += [(io.name, io, graph.outputs, True) for io in config.output]
    given += [(state.input_name, state, graph.inputs, False) for state in states]
    given += [(state.output_name, state, graph.outputs, False) for state in states]
    for name, io, there, exact in given:
        if name not in there:
            continue
        element, shape = there[name]
        whole = ([-1] if config.max_batch_size else []) + list(io.dims)
        fits = len(whole) == len(shape) and all(
            a == b or (b == -1 and not exact) for a, b in zip(whole, shape, strict=True)
        )
        if io.data_type != element or not fits:
            yield (
                f"'{name}' is {pb.DataType.Name(io.data_type)} {whole} in the configuration, and in the graph "
                f"{pb.DataType.Name(element)} {shape}"
            )


def _pairing(config: Any, graph: Graph) -> Iterator[str]:
    """Each state comes back as what the graph makes of it: by what Triton does, and by what the configuration says."""
    wanted = {spec.name: spec.next_name for spec in graph.contract.states}
    said = {state.input_name: state.output_name for state in config.sequence_batching.state}
    for name, output in sorted_pairs(config):
        if output != wanted.get(name):
            yield (
                f"Triton pairs states by the sorted order of their names, and would feed '{output}' into '{name}', "
                f"which wants '{wanted.get(name)}'"
            )
        elif said[name] != output:
            yield f"the configuration feeds '{said[name]}' into '{name}', which wants '{output}'"


def _first_values(config: Any, folder: Path) -> Iterator[str]:
    """Each state has a first value, in a file of its own that is just as long as the state."""
    files = Counter(initial.data_file for state in config.sequence_batching.state for initial in state.initial_state)
    for state in config.sequence_batching.state:
        if len(state.initial_state) != 1:
            yield f"state '{state.input_name}' has {len(state.initial_state)} first values: it needs one"
            continue
        (initial,) = state.initial_state
        path = folder / INITIAL_STATE / initial.data_file
        size = byte_size(state.data_type, state.dims)
        if (initial.data_type, initial.dims) != (state.data_type, state.dims) or min(state.dims, default=0) < 1:
            sizes = f"{list(initial.dims)}, and the state {list(state.dims)}: expected the same type and known sizes"
            yield f"the first value of state '{state.input_name}' is {sizes}"
        elif not initial.name or path.parent != folder / INITIAL_STATE or files[path.name] > 1:
            yield f"the first value of state '{state.input_name}' needs a name, and a file in {INITIAL_STATE} of its own"
        elif not path.is_file() or path.stat().st_size != size:
            yield f"the first value of state '{state.input_name}' is no file of {size} bytes: {path}"
