"""Learnt weights in ONNX: where a Gemm adds a term of the target spikes, compute only the columns of targets that spiked.

``w + a @ b`` with ``b`` ``[B, M]`` leaves a column of ``w`` as it is where that of ``b`` is 0. Most steps have few target
spikes, and a Gemm copies all weights.
"""

import math

import onnx_ir as ir

SMALLEST = 2**16
"""The number of weights from which on it is faster: the nodes that select columns have a cost of their own."""

SHAPING = frozenset({"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def compute_spiking_columns(model: ir.Model) -> None:
    """Rewrite, in all graphs of a model, each Gemm of at least ``SMALLEST`` weights whose second factor has spikes."""
    for graph in model.graphs():
        for node in list(graph):
            if node.op_type == "Gemm" and _adds_to_columns(node):
                _rewrite(graph, node)


def _adds_to_columns(node: ir.Node) -> bool:
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if len(node.inputs) != 3 or attributes.get("transB", 0) or attributes.get("beta", 1.0) != 1.0:
        return False
    _, b, w = node.inputs
    shape = [] if w is None or w.shape is None else list(w.shape)
    sizes = [size for size in shape if isinstance(size, int)]
    return len(sizes) == len(shape) == 2 and math.prod(sizes) >= SMALLEST and _has_spikes(b)


def _has_spikes(value: ir.Value | None) -> bool:
    """Whether most elements of a value are 0: spikes, or a product with spikes."""
    node = value.producer() if value is not None else None
    if node is None:
        return False
    match node.op_type:
        case "Cast":
            return node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.BOOL
        case "Mul":
            return any(map(_has_spikes, node.inputs))
    return node.op_type in SHAPING and _has_spikes(node.inputs[0])


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    a, b, w = node.inputs
    tape = ir.tape.Tape()
    first = tape.op("Constant", [], {"value_ints": [0]})
    flat = tape.op("Constant", [], {"value_ints": [-1]})
    largest = tape.op("ReduceMax", [tape.op("Abs", [b]), first], {"keepdims": 0})
    columns = tape.op("Reshape", [tape.op("NonZero", [largest]), flat])
    chosen = tape.op("Gather", [w, columns], {"axis": 1})
    after = tape.op("Gemm", [a, tape.op("Gather", [b, columns], {"axis": 1}), chosen], dict(node.attributes))
    indices = tape.op("Expand", [columns, tape.op("Shape", [chosen])])
    result = tape.op("ScatterElements", [w, indices, after], {"axis": 1})
    ir.convenience.replace_nodes_and_values(graph, node, [node], tape.nodes, node.outputs, [result])
