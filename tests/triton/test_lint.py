"""The lint of model folders accepts what Triton would run correctly, and reports what it would run incorrectly."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from deploy_snn.bundle import Bundle
from deploy_snn.contract import BATCH, CONTRACT_KEY, Axis, Contract, Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.triton import lint, write_repository
from deploy_snn.triton.config import data_file, onnxruntime_config

from ..serving_driver import EXPORT  # noqa: TID252
from .implicit_state import ImplicitState, Request

NAMES = st.lists(
    st.text("vVxs._/0é\U0001f9e0 ", min_size=1, max_size=4)
    | st.sampled_from(["v", "v_hist", "next", "next.v", "..", "v.next"]),
    min_size=1,
    max_size=6,
    unique=True,
)


def write_counters(folder: Path, names: list[str], output_name_of: Callable[[str], str]) -> None:
    """Write a model whose n-th state starts at 1000 n and grows by n a step, so that swapped states are found."""
    folder.mkdir()
    (folder / "1").mkdir()
    (folder / "initial_state").mkdir()
    axes = (BATCH, Axis(name="neuron", size=1))
    states = [TensorSpec(name=name, role=Role.STATE, kind=Kind.POTENTIAL, axes=axes) for name in names]
    io = (TensorSpec(name="in", role=Role.DRIVE, axes=axes), TensorSpec(name="out", role=Role.RECORD, axes=axes))
    contract = Contract(dt=1.0, tensors=(*io, *states))

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1])

    constants = [helper.make_tensor(f"constant {n}", TensorProto.FLOAT, [1], [n]) for n in range(1, len(names) + 1)]
    nodes = [helper.make_node("Identity", ["in"], ["out"])]
    nodes += [helper.make_node("Add", [name, f"constant {n}"], [output_name_of(name)]) for n, name in enumerate(names, 1)]
    outputs = [value("out"), *(value(output_name_of(name)) for name in names)]
    graph = helper.make_graph(nodes, "counters", [value("in"), *map(value, names)], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CONTRACT_KEY: contract.model_dump_json()})
    onnx.save(model, folder / "1" / "model.onnx")
    config = onnxruntime_config(folder.name, contract)
    for n, (spec, state) in enumerate(zip(states, config.sequence_batching.state, strict=True), 1):
        state.output_name = output_name_of(spec.name)
        (folder / "initial_state" / data_file(spec)).write_bytes(np.float32(1000 * n).tobytes())
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))


@settings(deadline=None, max_examples=60)
@given(NAMES)
def test_states_of_any_names_are_paired_correctly(names: list[str]) -> None:
    """With the prefix "next.", Triton pairs each state with its own output, whatever the states' names are."""
    taken = {"in", "out"} | {f"next.{name}" for name in names}
    names = [name for name in names if name not in taken] or ["v"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counters"
        write_counters(path, names, lambda name: f"next.{name}")
        assert lint(path) == []
        triton = ImplicitState(path)
        for step in range(3):
            triton.infer([Request(7, {"in": np.zeros((1, 1), "float32")}, start=step == 0)])
        assert {name: array.item() for name, array in triton.sequences[7].items()} == {
            name: 1000 * n + 3 * n for n, name in enumerate(names, 1)
        }


def test_suffix_pairs_states_wrongly(tmp_path: Path) -> None:
    """A suffix would pair states wrongly: `v_next` and `v_hist_next` sort in another order than `v` and `v_hist`."""
    path = tmp_path / "counters"
    write_counters(path, ["v", "v_hist"], lambda name: f"{name}_next")
    assert any("would feed 'v_hist_next' into 'v' instead of 'next.v'" in problem for problem in lint(path))
    triton = ImplicitState(path)
    triton.infer([Request(7, {"in": np.zeros((1, 1), "float32")}, start=True)])
    assert triton.sequences[7]["v"].item() == 2002  # Triton would report no error


STATE = """  state {
    input_name: "v"
    output_name: "next.v"
    data_type: TYPE_FP32
    dims: 8
    initial_state {
      data_type: TYPE_FP32
      dims: 8
      data_file: "v.raw"
      name: "v"
    }
  }
"""
INPUT, OUTPUT = 'input {\n  name: "x"\n', 'output {\n  name: "s"\n'

EDITS = {
    "outputs swapped": (
        {'"next.v"': '"next.refrac_count"', '"next.refrac_count"': '"next.v"'},
        r"the configuration feeds 'next.refrac_count' into 'v' instead of 'next.v'",
    ),
    "output renamed": ({'"next.v"': '"next.w"'}, r"output 'next.v' is listed 0 times; the graph has 1"),
    "state missing": ({STATE: ""}, r"input 'v' is listed 0 times; the graph has 1"),
    "state twice": ({STATE: STATE + STATE}, r"input 'v' is listed 2 times; the graph has 1"),
    "state given to clients": (
        {OUTPUT: 'output { name: "next.v" data_type: TYPE_FP32 dims: 8 }' + OUTPUT},
        r"output 'next.v' is listed 2 times",
    ),
    "state asked of clients": (
        {INPUT: 'input { name: "v" data_type: TYPE_FP32 dims: 8 }' + INPUT, STATE: ""},
        r"'v' is an input of only one of the configuration and the contract",
    ),
    "control that the graph lacks": (
        {"  oldest {": '  control_input { name: "START" control { fp32_false_true: [0, 1] } }\n  oldest {'},
        r"input 'START' is listed 1 times; the graph has 0",
    ),
    "output hidden": ({OUTPUT + "  data_type: TYPE_BOOL\n  dims: 8\n}\n": ""}, r"output 's' is listed 0 times"),
    "dims of a state": (
        {STATE: STATE.replace("dims: 8", "dims: 4 dims: 2")},
        r"'v' is TYPE_FP32 \[-1, 4, 2\] in the configuration, but in the graph TYPE_FP32 \[-1, 8\]",
    ),
    "dims of a state left open": (
        {STATE: STATE.replace("dims: 8", "dims: -1")},
        r"the initial value of state 'v' is \[-1\], but the state \[-1\]; expected the same type and known sizes",
    ),
    "dims of an output left open": (
        {OUTPUT + "  data_type: TYPE_BOOL\n  dims: 8": OUTPUT + "  data_type: TYPE_BOOL\n  dims: -1"},
        r"'s' is TYPE_BOOL \[-1, -1\] in the configuration",
    ),
    "type of an input": (
        {INPUT + "  data_type: TYPE_FP32": INPUT + "  data_type: TYPE_BOOL"},
        r"'x' is TYPE_BOOL \[-1, 8\] in the configuration",
    ),
    "no batch": ({"max_batch_size: 64": ""}, r"'next.v' is TYPE_FP32 \[8\] in the configuration"),
    "no first value": (
        {STATE: STATE[: STATE.index("    initial")] + "  }\n"},
        r"state 'v' has 0 initial values; expected one",
    ),
    "dims of a first value": (
        {STATE: STATE.replace("      dims: 8", "      dims: 4")},
        r"the initial value of state 'v' is \[4\], but the state \[8\]",
    ),
    "type of a first value": (
        {STATE: STATE.replace("      data_type: TYPE_FP32", "      data_type: TYPE_INT32")},
        r"the initial value of state 'v' is",
    ),
    "file of two states": ({'"v.raw"': '"refrac_count.raw"'}, r"'v' needs a name, and a file in initial_state of its own"),
    "file elsewhere": ({'"v.raw"': '"../v.raw"'}, r"'v' needs a name, and a file in initial_state of its own"),
    "no file": ({'"v.raw"': '"w.raw"'}, r"the initial value of state 'v' is not a file of 32 bytes"),
    "no name": ({'      name: "v"\n': ""}, r"the initial value of state 'v' needs a name"),
    "another model": ({'name: "lif"': 'name: "if"'}, r"the model is named 'if', but its folder 'lif'"),
}


@pytest.fixture
def lif(tmp_path: Path) -> Path:
    (path,) = write_repository(tmp_path, [Bundle.open(EXPORT / "lif")], "onnxruntime")
    assert lint(path) == []
    return path


@pytest.mark.parametrize("edit", EDITS)
def test_edited_configuration(edit: str, lif: Path) -> None:
    """The lint reports each error that is edited into a configuration."""
    replacements, problem = EDITS[edit]
    config = lif / "config.pbtxt"
    text = re.sub("|".join(map(re.escape, replacements)), lambda found: replacements[found[0]], config.read_text())
    assert text != config.read_text()
    config.write_text(text)
    assert re.search(problem, "\n".join(lint(lif))), lint(lif)


def test_open_dims_of_outputs(tmp_path: Path) -> None:
    """The lint reports a fixed dim where the graph's output has an open one, since Triton does not load such a model."""
    (path,) = write_repository(tmp_path, [Bundle.open(EXPORT / "adaptive-lif")], "onnxruntime")
    text = (path / "config.pbtxt").read_text()
    assert text.count("dims: -1") == 1
    (path / "config.pbtxt").write_text(text.replace("dims: -1", "dims: 1"))
    assert [
        problem for problem in lint(path) if "'s' is TYPE_BOOL [1, 8] in the configuration, but in the graph" in problem
    ]


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_initial_value_of_wrong_size(size: int, lif: Path) -> None:
    (lif / "initial_state/v.raw").write_bytes(bytes(size))
    assert [problem for problem in lint(lif) if "the initial value of state 'v' is not a file of 32 bytes" in problem]


def test_invalid_files(lif: Path) -> None:
    config = (lif / "config.pbtxt").read_text()
    (lif / "config.pbtxt").write_text(config.replace("max_batch_size", "max_batchsize"))
    with pytest.raises(InvalidInput, match=r'no field named "max_batchsize"'):
        lint(lif)
    (lif / "config.pbtxt").write_text(config)
    (lif / "1/model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(InvalidInput, match=r"model.onnx cannot be read"):
        lint(lif)
