"""Checks the folder of a model as Triton will read it, above all that every state output feeds the right state input.

Triton itself does not check this: with a wrong pair of states or a wrong initial value, it runs and gives wrong results.
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
    """The contract of an ONNX file, and the element types and shapes of its inputs and outputs; -1 means any size."""

    contract: Contract
    inputs: Mapping[str, tuple[int, list[int]]]
    outputs: Mapping[str, tuple[int, list[int]]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an ONNX file. Raises InvalidInput for a file that cannot be read or has no contract."""
        try:
            model = onnx.load(path)
        except (OSError, DecodeError) as error:
            raise InvalidInput(f"{path} cannot be read: {error}") from None
        inside = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.parse(inside.get(CONTRACT_KEY, ""), str(path))
        return cls(contract, _described(model.graph.input), _described(model.graph.output))


def read_config(folder: Path) -> Any:
    """Parse a model's ``config.pbtxt`` by Triton's protobuf schema. Raises InvalidInput if that fails."""
    try:
        return text_format.Parse((folder / CONFIG).read_text(), pb.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InvalidInput(f"{folder / CONFIG} cannot be read: {error}") from None


def lint(folder: Path) -> list[str]:
    """Return the problems of a model's folder, one sentence each. Raises InvalidInput for a file that cannot be read."""
    config, graph = read_config(folder), Graph.read(folder / VERSION / MODEL)
    found = [*_coverage(config, graph), *_shapes(config, graph), *_pairing(config, graph), *_initial_values(config, folder)]
    if config.name != folder.name:
        found.append(f"the model is named '{config.name}', but its folder '{folder.name}'")
    return found


def sorted_pairs(config: Any) -> list[tuple[str, str]]:
    """The pairs (state input, state output) that Triton uses: the n-th input and the n-th output, both sorted by name.

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
    """Every input and output of the graph must be in the configuration once, in its role."""
    contract, batching = graph.contract, config.sequence_batching
    own = () if _keeps_states(config) else contract.states
    inputs = [*(io.name for io in config.input), *(control.name for control in batching.control_input)]
    inputs += [*(state.input_name for state in batching.state), *(spec.name for spec in own)]
    outputs = [io.name for io in config.output]
    outputs += [*(state.output_name for state in batching.state), *(spec.next_name for spec in own)]
    for what, names, in_graph in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
        counts = Counter(names)
        for name in sorted(counts.keys() | in_graph.keys()):
            if counts[name] != (name in in_graph):
                yield f"{what} '{name}' is listed {counts[name]} times; the graph has {int(name in in_graph)}"
    for what, ios, specs in (("input", config.input, contract.inputs), ("output", config.output, contract.outputs)):
        for name in sorted({io.name for io in ios} ^ {spec.name for spec in specs}):
            yield f"'{name}' is an {what} of only one of the configuration and the contract"


def _shapes(config: Any, graph: Graph) -> Iterator[str]:
    """Element types and shapes must match the graph: exactly for an output, up to open axes for others."""
    states = config.sequence_batching.state
    entries = [(io.name, io, graph.inputs, False) for io in config.input]
    entries += [(io.name, io, graph.outputs, True) for io in config.output]
    entries += [(state.input_name, state, graph.inputs, False) for state in states]
    entries += [(state.output_name, state, graph.outputs, False) for state in states]
    for name, io, values, exact in entries:
        if name not in values:
            continue
        element, shape = values[name]
        whole = ([-1] if config.max_batch_size else []) + list(io.dims)
        fits = len(whole) == len(shape) and all(
            a == b or (b == -1 and not exact) for a, b in zip(whole, shape, strict=True)
        )
        if io.data_type != element or not fits:
            yield (
                f"'{name}' is {pb.DataType.Name(io.data_type)} {whole} in the configuration, but in the graph "
                f"{pb.DataType.Name(element)} {shape}"
            )


def _pairing(config: Any, graph: Graph) -> Iterator[str]:
    """Each state input must get its own next value, both as Triton pairs states and as the configuration names them."""
    expected = {spec.name: spec.next_name for spec in graph.contract.states}
    configured = {state.input_name: state.output_name for state in config.sequence_batching.state}
    for name, output in sorted_pairs(config):
        if output != expected.get(name):
            yield (
                f"Triton pairs states by the sorted order of their names, and would feed '{output}' into '{name}' "
                f"instead of '{expected.get(name)}'"
            )
        elif configured[name] != output:
            yield f"the configuration feeds '{configured[name]}' into '{name}' instead of '{output}'"


def _initial_values(config: Any, folder: Path) -> Iterator[str]:
    """Each state must have one initial value, in a file of its own, of the state's size."""
    files = Counter(initial.data_file for state in config.sequence_batching.state for initial in state.initial_state)
    for state in config.sequence_batching.state:
        if len(state.initial_state) != 1:
            yield f"state '{state.input_name}' has {len(state.initial_state)} initial values; expected one"
            continue
        (initial,) = state.initial_state
        path = folder / INITIAL_STATE / initial.data_file
        size = byte_size(state.data_type, state.dims)
        if (initial.data_type, initial.dims) != (state.data_type, state.dims) or min(state.dims, default=0) < 1:
            sizes = f"{list(initial.dims)}, but the state {list(state.dims)}; expected the same type and known sizes"
            yield f"the initial value of state '{state.input_name}' is {sizes}"
        elif not initial.name or path.parent != folder / INITIAL_STATE or files[path.name] > 1:
            yield f"the initial value of state '{state.input_name}' needs a name, and a file in {INITIAL_STATE} of its own"
        elif not path.is_file() or path.stat().st_size != size:
            yield f"the initial value of state '{state.input_name}' is not a file of {size} bytes: {path}"
