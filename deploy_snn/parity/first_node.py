"""The first node of a bundle's step.onnx whose result is wrong, given the inputs of one step."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from deploy_snn.bundle import Bundle
from deploy_snn.formats.onnx import Onnx
from deploy_snn.lowering import Lowered
from deploy_snn.parity.reproducer import STEP, WrongStep
from deploy_snn.program import Program
from deploy_snn.tensors import Arrays


def first_wrong_node(bundle: Bundle, program: Program, wrong: WrongStep) -> str:
    """Describe the first node that differs, in the order of the graph.

    First ONNX Runtime is compared with onnx's ReferenceEvaluator on the bundle's graph: a difference is the runtime's. If
    they agree, the graph is compared with a new export of the program, value by value: a difference is the graph's.
    """
    model = onnx.load(bundle.file(STEP))
    feeds = {**wrong.inputs, **wrong.state}
    evaluated, computed = _evaluate(model, feeds), _compute(model, feeds)
    for node in model.graph.node:
        if any(not _same(evaluated[name], computed[name]) for name in node.output):
            return f"{_words(node)}, where ONNX Runtime differs from onnx's ReferenceEvaluator"
    exported = Onnx().step_graph(Lowered(program))
    expected = _evaluate(exported, feeds)
    for node in model.graph.node:
        for name in node.output:
            if name not in expected:
                return f"{_words(node)}, which a new export does not have; the graph differs from the program"
            if not _same(evaluated[name], expected[name]):
                return f"{_words(node)}; the graph differs from the program"
    return "none: ONNX Runtime, onnx's ReferenceEvaluator and a new export agree on this step"


def _words(node: onnx.NodeProto) -> str:
    return f"{node.op_type}({', '.join(node.input)}) -> {', '.join(node.output)}"


def _evaluate(model: ModelProto, feeds: Arrays) -> Arrays:
    """Every intermediate value of a graph, by onnx's ReferenceEvaluator."""
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, feeds, intermediate=True)
    return dict(results)


def _compute(model: ModelProto, feeds: Arrays) -> Arrays:
    """Every intermediate value of a graph, by ONNX Runtime: all are marked as outputs."""
    marked = ModelProto.FromString(model.SerializeToString())
    outputs = {value.name for value in marked.graph.output}
    names = [name for node in marked.graph.node for name in node.output if name]
    marked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(marked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((value.name for value in session.get_outputs()), session.run(None, feeds), strict=True))


def _same(a: object, b: object) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and bool(np.array_equal(x, y, equal_nan=x.dtype.kind == "f"))
