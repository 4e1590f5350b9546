"""ONNX graphs contain only the equations of the model, and describe themselves."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor

from deploy_snn.bundle.trace import at
from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.eager import record, to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.onnx import Onnx
from deploy_snn.lowering import Lowered
from deploy_snn.neurons import NEURONS, LIFNodes, NeuronProgram

OPTIONS = (
    {"n": 6},
    {"shape": (2, 3), "traces": True, "sum_input": True, "learning": False},
    {"n": 6, "traces": True, "traces_additive": True, "dt": 0.5},
)
CASES = [pytest.param(name, options, id=f"{name}-{i}") for name in NEURONS for i, options in enumerate(OPTIONS)]


def graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The graph, and the bodies of its Scans."""
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.name == "body"]
    return [model.graph, *bodies]


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_deterministic_lif_is_ten_nodes() -> None:
    counts = Counter(node.op_type for node in Onnx().step_graph(Lowered(NeuronProgram(LIFNodes(n=100)))).graph.node)
    assert counts == {"Where": 3, "Sub": 2, "Add": 2, "Mul": 1, "Greater": 1, "GreaterOrEqual": 1}


class SquareLIFNodes(LIFNodes):
    """Uses an operator that ONNX lacks, and that torch decomposes."""

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return super().step(torch.square(x), state, noise)


@pytest.mark.parametrize("write", [Onnx.step_graph, Onnx.sequence_graph])
def test_operators_that_onnx_lacks_are_decomposed(write: object) -> None:
    program = NeuronProgram(SquareLIFNodes(n=4))
    model = write(Onnx(), Lowered(program))
    trace = record(program, {"x": np.full((20, 1, 4), 3.0, np.float32)}, to_numpy(program.initial_state(1)))
    inputs = {"x": trace.inputs["x"] if write is Onnx.sequence_graph else trace.inputs["x"][0]} | trace.start
    s = session(model).run(["s"], inputs)[0]
    assert_array_equal(s, trace.outputs["s"] if write is Onnx.sequence_graph else trace.outputs["s"][0])
    assert trace.outputs["s"].any()


@pytest.mark.parametrize(
    ("name", "options", "write"),
    [(name, options, Onnx.step_graph) for name in NEURONS for options in OPTIONS]
    + [(name, OPTIONS[1], Onnx.sequence_graph) for name in NEURONS],
)
def test_graphs_have_no_superfluous_nodes(name: str, options: dict, write: object) -> None:
    program = NeuronProgram(NEURONS[name](**options))
    model = write(Onnx(), Lowered(program))
    used = {value for graph in graphs(model) for node in graph.node for value in node.input}
    used |= {value.name for graph in graphs(model) for value in graph.output}
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for graph in graphs(model):
        operators = Counter(node.op_type for node in graph.node)
        assert not operators.keys() & {"Shape", "Expand", "Identity", "Constant", "Reshape"} - (
            {"Reshape"} if len(program.neuron.shape) > 1 else set()
        )
        assert operators["Cast"] <= 1
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] in types:
                assert types[node.input[0]] == onnx.TensorProto.BOOL
        assert {constant.name for constant in graph.initializer} <= used
        assert {value.name for value in graph.input} <= used
    onnx.checker.check_model(model, full_check=True)
    assert b"/work" not in model.SerializeToString()
    assert b"deploy_snn/neurons" not in model.SerializeToString()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_graph_inputs_and_outputs_match_the_contract(name: str, options: dict) -> None:
    contract = NeuronProgram(NEURONS[name](**options)).contract
    model = Onnx().step_graph(Lowered(NeuronProgram(NEURONS[name](**options))))

    def described(values: object) -> list[tuple]:
        return [
            (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
            for v in values
        ]

    def wanted(specs: object, named: object) -> list[tuple]:
        kinds = {"float32": onnx.TensorProto.FLOAT, "bool": onnx.TensorProto.BOOL}
        return [(named(s), kinds[s.dtype], [a.name if a.size is None else a.size for a in s.axes]) for s in specs]

    assert described(model.graph.input) == wanted((*contract.inputs, *contract.states), lambda s: s.name)
    outputs = wanted(contract.outputs, lambda s: s.name) + wanted(contract.states, lambda s: f"next.{s.name}")
    assert described(model.graph.output) == outputs
    inside = {entry.key: entry.value for entry in model.metadata_props}
    assert Contract.parse(inside[CONTRACT_KEY], "the model") == contract


def test_the_same_model_gives_the_same_bytes() -> None:
    first, second = (
        Onnx().step_graph(Lowered(NeuronProgram(LIFNodes(n=5)))).SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", ["lif", "diehl-and-cook", "csrm", "izhikevich"])
def test_one_file_for_every_batch_and_length(name: str) -> None:
    program = NeuronProgram(NEURONS[name](n=5, dt=1.0))
    step, sequence = session(Onnx().step_graph(Lowered(program))), session(Onnx().sequence_graph(Lowered(program)))
    rng, spikes = np.random.default_rng(0), 0
    for steps, batch in ((1, 1), (7, 3), (60, 1), (2, 1024)):
        inputs = {
            spec.name: rng.random((steps, *spec.shape(batch=batch)), np.float32) * (1 if spec.role == "noise" else 20)
            for spec in program.contract.inputs
        }
        trace = record(program, inputs, to_numpy(program.initial_state(batch)))
        names = [value.name for value in sequence.get_outputs()]
        whole = dict(zip(names, sequence.run(None, inputs | trace.start), strict=True))
        assert_array_equal(whole["s"], trace.outputs["s"])
        spikes += trace.outputs["s"].sum()
        state = trace.start
        for now in range(steps):
            given = dict(zip(names, step.run(None, at(inputs, now) | state), strict=True))
            assert_array_equal(given["s"], trace.outputs["s"][now])
            state = {key: given[f"next.{key}"] for key in state}
        for key, value in state.items():
            assert_array_equal(value, trace.states[key][-1])
            assert_array_equal(whole[f"next.{key}"], trace.states[key][-1])
    assert spikes


@pytest.mark.parametrize(("opset", "ir_versions"), [(18, [8]), (20, [9, 13]), (25, [10])])
def test_opsets_and_ir_versions(opset: int, ir_versions: list[int]) -> None:
    for ir_version in ir_versions:
        model = Onnx(opset, ir_version).step_graph(Lowered(NeuronProgram(NEURONS["diehl-and-cook"](n=5))))
        assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)
        assert session(model).get_inputs()[0].name == "x"


@pytest.mark.parametrize(
    ("opset", "ir_version", "named"), [(17, None, "opset=17"), (26, None, "opset=26"), (20, 99, "ir_version=99")]
)
def test_unsupported_versions(opset: int, ir_version: int | None, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        Onnx(opset, ir_version)
