"""A sequence graph gives the same bits as repeated steps, for every plan, length, batch size and split."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.testing import assert_array_equal

from deploy_snn import neurons
from deploy_snn.bundle.trace import Trace
from deploy_snn.eager import record, to_numpy, to_torch
from deploy_snn.formats.onnx import Onnx
from deploy_snn.importers import load_model
from deploy_snn.lowering import Lowered
from deploy_snn.lowering.capture import capture_sequence
from deploy_snn.network import (
    Conv2d,
    Dense,
    Lateral,
    MaxPool2d,
    MeanField,
    Network,
    OneToOne,
    Sparse,
    StochasticDense,
    SumPool2d,
    snap_weights,
)
from deploy_snn.tensors import Arrays
from deploy_snn.torch_internals import script

MODELS = Path(__file__).parent.parent.parent / "models"


def loops(*, one_step: bool) -> Network:
    """A loop of three layers and one of one layer, with a skip connection, external inputs, traces and a shared theta."""
    network = Network(one_step=one_step, record=["a.v", "X.s", "c.previous"])
    network.add_layer(neurons.Input(n=12), "X")
    network.add_layer(neurons.LIFNodes(n=8, traces=True), "a", external=True)
    network.add_layer(neurons.CurrentLIFNodes(n=8), "b")
    network.add_layer(neurons.AdaptiveLIFNodes(n=8), "c")
    network.add_layer(neurons.DiehlAndCookNodes(n=5, sum_input=True), "out", external=True)
    network.add_connection(OneToOne(6.0), "c", "a")  # the loop's connection first: later ones must keep their order
    network.add_connection(Dense(4 * torch.rand(12, 8)), "X", "a")
    network.add_connection(Dense(3 * torch.rand(8, 8)), "a", "b")
    network.add_connection(Dense(5 * torch.rand(8, 8), torch.rand(8)), "b", "c")
    network.add_connection(Lateral(-0.5), "c", "c")
    network.add_connection(Dense(4 * torch.rand(8, 5)), "c", "out")
    network.add_connection(Sparse((torch.rand(12, 5) < 0.4) * 8.0), "X", "out")
    return network


def layers_with_memory(*, one_step: bool) -> Network:
    """Pooling inside and outside a loop, windows of 20, 2 and 1 steps, mean fields, noise, and layers without state."""
    network = Network(one_step=one_step)
    network.add_layer(neurons.Input(shape=(2, 4, 4)), "X")
    network.add_layer(neurons.McCullochPitts(shape=(2, 4, 4), thresh=1.5), "gate")
    network.add_layer(neurons.IFNodes(shape=(2, 2, 2), thresh=-64.0, refrac=0), "pool")
    network.add_layer(neurons.LIFNodes(shape=(2, 4, 4)), "loop", external=True)
    network.add_layer(neurons.CSRMNodes(n=4, learning=False), "long")
    network.add_layer(neurons.CSRMNodes(n=4, res_window_size=2, ref_window_size=2), "short")
    network.add_layer(neurons.CSRMNodes(n=4, res_window_size=1, ref_window_size=1), "now")
    network.add_layer(neurons.SRM0Nodes(n=3), "out")
    network.add_connection(Conv2d(torch.rand(2, 2, 3, 3), padding=1), "X", "gate")
    network.add_connection(MaxPool2d(2, decay=0.25), "gate", "pool")
    network.add_connection(MaxPool2d(1, decay=0.5), "loop", "loop")
    for target in ("long", "short", "now"):
        network.add_connection(Dense(4 * torch.rand(8, 4)), "pool", target)
        network.add_connection(MeanField(torch.rand(3) * 20), target, "out")
    return network


def without_drive(*, one_step: bool) -> Network:
    """A network whose only input drives no other layer. It gives the number of steps."""
    network = Network(one_step=one_step)
    network.add_layer(neurons.Input(n=3), "X")
    network.add_layer(neurons.BoostedLIFNodes(n=4), "quiet")
    network.add_layer(neurons.LIFNodes(n=4, rest=-50.0), "busy", external=False)
    network.add_connection(OneToOne(14.0), "busy", "quiet")
    network.add_connection(OneToOne(1.0), "quiet", "busy")
    return network


def reserved_names(*, one_step: bool) -> Network:
    """Layers with names that the lowering or the contract uses itself."""
    network = Network(one_step=one_step, record=["record.v"])
    for name in ("drive", "x", "heard", "record", "next", "length"):
        network.add_layer(neurons.LIFNodes(n=3), name, external=True)
    network.add_connection(OneToOne(3.0), "drive", "x")
    network.add_connection(OneToOne(4.0), "x", "drive")
    network.add_connection(OneToOne(5.0), "heard", "record")
    network.add_connection(OneToOne(6.0), "record", "next")
    return network


def from_file(name: str, **options: object) -> Callable[..., Network]:
    def build(*, one_step: bool) -> Network:
        network = load_model(str(MODELS / f"{name}.py"), options).program
        network.one_step = one_step
        return network

    return build


def graded(*, one_step: bool) -> Network:
    """Layers with graded outputs: external, delayed, integrated, pooled, and in a loop."""
    network = Network(one_step=one_step, record=["image.s", "out.v"])
    network.add_layer(neurons.DelayLine(n=3, delay=torch.tensor([0.0, 1.0, 3.0])), "late")
    network.add_layer(neurons.Relay(shape=(1, 4, 4)), "image", external=True)
    network.add_layer(neurons.DifferenceLIFNodes(shape=(1, 4, 4), decay=0.75, gain=0.25, reset_after="leak"), "seen")
    network.add_layer(neurons.Relay(shape=(1, 2, 2)), "pooled")
    network.add_layer(neurons.CurrentIntegrator(n=3, decay=0.75, i_decay=0.5), "out")
    network.add_layer(neurons.DifferenceCurrentLIFNodes(n=3, decay=0.5, i_decay=0.5, reset=0.0), "act")
    network.add_connection(OneToOne(1.0), "image", "seen")
    network.add_connection(SumPool2d(2), "seen", "pooled")
    network.add_connection(Dense(torch.randn(4, 3)), "pooled", "out")
    network.add_connection(OneToOne(-0.125), "out", "out")
    network.add_connection(OneToOne(1.0), "out", "late")
    network.add_connection(OneToOne(1.0), "late", "act")
    return network


def stochastic(*, one_step: bool) -> Network:
    """Stochastic synapses between layers with two axes, and in a loop with one probability for all."""
    network = Network(one_step=one_step)
    network.add_layer(neurons.Input(shape=(2, 5)), "X")
    network.add_layer(neurons.LIFNodes(shape=(2, 3)), "a")
    network.add_layer(neurons.LIFNodes(n=6), "b", external=True)
    network.add_connection(StochasticDense(20 * torch.rand(10, 6), torch.rand(10, 6), torch.rand(6)), "X", "a")
    network.add_connection(StochasticDense(-5 * torch.rand(6, 6), 0.5), "b", "a")
    network.add_connection(StochasticDense(20 * torch.rand(6, 6), torch.rand(6, 6)), "a", "b")
    return network


CASES = [
    (build, one_step)
    for build in (loops, layers_with_memory, without_drive, reserved_names, graded, stochastic)
    for one_step in (False, True)
] + [
    (from_file("diehl_cook_2015", n=10, n_input=30), False),
    (from_file("izhikevich_2003", n=12), False),
    (from_file("conv_lif", channels=2), False),
    (from_file("reservoir_srm0", n=20, n_input=10), False),
    (from_file("csrm_window", n=5, n_input=10), False),
]


def drive(network: Network, steps: int, batch: int) -> Trace:
    rng = np.random.default_rng(steps + batch)
    inputs: Arrays = {}
    for spec in network.contract.inputs:
        drawn = rng.random((steps, *spec.shape(batch=batch)), np.float32)
        inputs[spec.name] = drawn if spec.role == "noise" else np.where(drawn < 0.3, np.float32(9), np.float32(0))
    return record(network, inputs, to_numpy(network.initial_state(batch)))


def assert_equal_outputs(outputs: Arrays, last: Arrays, trace: Trace) -> None:
    for name, values in trace.outputs.items():
        assert_array_equal(outputs[name], values, err_msg=name)
    for name, values in trace.states.items():
        assert_array_equal(last[name], values[-1], err_msg=name)


@pytest.mark.parametrize(("build", "one_step"), CASES)
def test_sequences(build: Callable[..., Network], one_step: bool) -> None:
    torch.manual_seed(1)
    random.seed(1)
    network = build(one_step=one_step)
    snap_weights(network.connections, 12)
    model = Onnx().sequence_graph(Lowered(network))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reserved_names = [value.name for value in session.get_outputs()]
    captured = capture_sequence(network).module()
    scripted = script(network)

    def on_onnxruntime(inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        given = dict(zip(reserved_names, session.run(None, inputs | state), strict=True))
        return given, {name: given[f"next.{name}"] for name in state}

    spikes = 0
    for steps, batch in ((1, 1), (2, 64), (7, 3), (300, 1)):
        trace = drive(network, steps, batch)
        spikes += sum(int(array.sum()) for array in trace.spikes)
        assert_equal_outputs(*on_onnxruntime(trace.inputs, trace.start), trace)
        if steps < 100:
            for function in (captured, scripted.rollout, network.rollout):
                assert_equal_outputs(*map(to_numpy, function(to_torch(trace.inputs), to_torch(trace.start))), trace)
    assert spikes > 10
    cuts = sorted({0, 300, *random.sample(range(1, 300), 3)})
    state, parts = trace.start, []
    for begin, end in pairwise(cuts):
        outputs, state = on_onnxruntime({name: array[begin:end] for name, array in trace.inputs.items()}, state)
        parts.append(outputs)
    assert_equal_outputs({name: np.concatenate([part[name] for part in parts]) for name in trace.outputs}, state, trace)


def test_long_sequence() -> None:
    torch.manual_seed(1)
    network = from_file("diehl_cook_2015", n=10, n_input=30)(one_step=False)
    snap_weights(network.connections, 12)
    session = ort.InferenceSession(
        Onnx().sequence_graph(Lowered(network)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    trace = drive(network, 1000, 2)
    given = dict(zip([v.name for v in session.get_outputs()], session.run(None, trace.inputs | trace.start), strict=True))
    assert_equal_outputs(given, {name: given[f"next.{name}"] for name in trace.start}, trace)


def test_the_plan() -> None:
    """Layers outside loops are separate components; sums that do not depend on a loop's state are computed outside it."""
    torch.manual_seed(1)
    network = loops(one_step=False)
    plan = network.plan()
    assert [component.layers for component in plan] == [("X",), ("a", "b", "c"), ("out",)]
    assert [component.stateless for component in plan] == [True, False, False]
    assert plan[1].inner == {"c_to_a", "a_to_b", "b_to_c", "c_to_c"}
    assert plan[1].incoming == ("c_to_a", "X_to_a", "a_to_b", "b_to_c", "c_to_c")
    assert plan[2].inner == frozenset()
    graph = Onnx().sequence_graph(Lowered(network)).graph
    scans = [node for node in graph.node if node.op_type == "Scan"]
    products = [[n.op_type for a in node.attribute if a.name == "body" for n in a.g.node].count("MatMul") for node in scans]
    assert products == [2, 0]  # a to b, and b to c, are inside the loop
    assert sum(node.op_type == "MatMul" for node in graph.node) == 2  # X to a, and c to out
    inside = layers_with_memory(one_step=False).plan()
    assert next(c for c in inside if c.layers == ("pool",)).inner == {"gate_to_pool"}, (
        "the pooling has state, so it must be inside"
    )
    assert next(c for c in inside if c.layers == ("gate",)).stateless


@pytest.mark.parametrize("build", [loops, layers_with_memory])
def test_step_graph_has_no_superfluous_nodes(build: Callable[..., Network]) -> None:
    model = Onnx().step_graph(Lowered(build(one_step=False)))
    operators = [node.op_type for node in model.graph.node]
    assert not {"Shape", "Expand", "Constant"} & set(operators)
    recorded = sum(value.name.startswith("record.") for value in model.graph.output)
    assert operators.count("Identity") == recorded
