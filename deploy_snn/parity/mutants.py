"""Mutants of a bundle's ONNX graphs: each is wrong in one place. A comparison is as good as the mutants that it detects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from deploy_snn.contract import Contract, TensorSpec

if TYPE_CHECKING:
    from deploy_snn.tensors import Array

REPLACED = {
    "Add": ("Sub",),
    "Sub": ("Add",),
    "Mul": ("Add",),
    "Div": ("Mul",),
    "Greater": ("GreaterOrEqual", "Less"),
    "GreaterOrEqual": ("Greater", "Less"),
    "Less": ("LessOrEqual", "Greater"),
    "LessOrEqual": ("Less", "Greater"),
    "And": ("Or",),
    "Or": ("And",),
    "Max": ("Min",),
    "Min": ("Max",),
    "ReduceSum": ("ReduceMax",),
    "Exp": ("Identity",),
    "Not": ("Identity",),
    "Neg": ("Identity",),
    "Abs": ("Identity",),
}
"""The operators that replace another one. The result has the same type."""

ORDERED = {"Sub", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
"""Operators whose operands cannot be swapped."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div"}


@dataclass(frozen=True)
class Mutant:
    """One wrong graph. ``kind`` is what was changed: operator, operands, constant, wiring, rows, time."""

    kind: str
    what: str
    model: ModelProto


def mutants(model: ModelProto, contract: Contract, *, in_time: bool) -> Iterator[Mutant]:
    """Every mutant of a graph that is a valid ONNX model. ``in_time`` says that outputs have a leading time axis."""
    for kind, what, change in _changes(model, contract, in_time=in_time):
        copy = ModelProto.FromString(model.SerializeToString())
        change(copy.graph)
        try:
            onnx.checker.check_model(copy, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue
        yield Mutant(kind, what, copy)


Change = tuple[str, str, Callable[[GraphProto], object]]


def _changes(model: ModelProto, contract: Contract, *, in_time: bool) -> Iterator[Change]:
    for place, node in _nodes(model.graph):
        yield from _of_node(place, node)
    for index, constant in enumerate(model.graph.initializer):
        if constant.data_type == TensorProto.FLOAT:
            yield from _of_constant(index, constant)
    yield from _of_wiring(contract)
    for spec, name in (*((s, s.name) for s in contract.outputs), *((s, s.next_name) for s in contract.states)):
        recorded = in_time and not name.startswith("next.")
        if spec.batch_axis is not None:
            axis = spec.batch_axis + recorded
            yield "rows", f"the batch rows of {name} are reversed", partial(_reverse, output=name, axis=axis)
        if recorded:
            yield "time", f"{name} is one step early", partial(_shift, output=name)


Place = tuple[int, ...]


def _nodes(graph: GraphProto, outer: Place = ()) -> Iterator[tuple[Place, NodeProto]]:
    """Every node with its position, also in the bodies of Scan nodes."""
    for index, node in enumerate(graph.node):
        place = (*outer, index)
        yield place, node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g, place)


def _node(graph: GraphProto, place: Place) -> NodeProto:
    node: NodeProto = graph.node[place[0]]
    if len(place) == 1:
        return node
    body = next(attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH)
    return _node(body, place[1:])


def _of_node(place: Place, node: NodeProto) -> Iterator[Change]:
    where = f"{node.op_type} -> {node.output[0]}"
    for operator in REPLACED.get(node.op_type, ()):
        yield "operator", f"{where}: {operator}", partial(_replace, place=place, operator=operator)
    if node.op_type in ORDERED:
        yield "operands", f"{where}: operands swapped", partial(_set_inputs, place=place, order=(1, 0))
    if node.op_type in ARITHMETIC:
        for kept in (0, 1):
            yield "operands", f"{where}: only operand {kept}", partial(_keep, place=place, index=kept)
    if node.op_type == "Where":
        for order, what in (((0, 2, 1), "branches swapped"), ((0, 1, 1), "always first"), ((0, 2, 2), "always second")):
            yield "operands", f"{where}: {what}", partial(_set_inputs, place=place, order=order)
    if node.op_type == "ArgMax":
        yield "operator", f"{where}: the last of equals", partial(_select_last, place=place)


def _replace(graph: GraphProto, place: Place, operator: str) -> None:
    _node(graph, place).op_type = operator


def _set_constant(graph: GraphProto, index: int, tensor: TensorProto) -> None:
    graph.initializer[index].CopyFrom(tensor)


def _set_inputs(graph: GraphProto, place: Place, order: tuple[int, ...]) -> None:
    node = _node(graph, place)
    inputs = list(node.input)
    node.input[:] = [inputs[index] for index in order]


def _keep(graph: GraphProto, place: Place, index: int) -> None:
    node = _node(graph, place)
    node.op_type = "Identity"
    node.input[:] = [node.input[index]]


def _select_last(graph: GraphProto, place: Place) -> None:
    node = _node(graph, place)
    kept = [attribute for attribute in node.attribute if attribute.name != "select_last_index"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("select_last_index", 1)])


def _of_constant(index: int, constant: TensorProto) -> Iterator[Change]:
    values: Array = numpy_helper.to_array(constant)
    one, up, down = np.float32(1), np.float32(np.inf), np.float32(-np.inf)
    changed = {
        "+ 1 ulp": np.where(values == 0, values, np.nextafter(values, up)),
        "- 1 ulp": np.where(values == 0, values, np.nextafter(values, down)),
        "+ 1 %": values * np.float32(1.01),
        "- 1 %": values * np.float32(0.99),
    }
    if not values.any():  # 1 % of 0 is 0, and its neighbours are denormal numbers, which runtimes flush to 0
        changed = {"+ 1": values + one, "- 1": values - one}
    for what, new in changed.items():
        if (new != values).any():
            tensor = numpy_helper.from_array(new.astype(np.float32), constant.name)
            yield "constant", f"{constant.name} {what}", partial(_set_constant, index=index, tensor=tensor)


def _of_wiring(contract: Contract) -> Iterator[Change]:
    def like(spec: TensorSpec) -> tuple[object, ...]:
        return (spec.dtype, spec.axes)

    for a, b in combinations(contract.states, 2):
        if like(a) == like(b):
            yield (
                "wiring",
                f"{a.next_name} and {b.next_name} swapped",
                partial(_swap, a=a.next_name, b=b.next_name),
            )
            yield "wiring", f"{a.name} and {b.name} swapped", partial(_swap_inputs, a=a.name, b=b.name)
    for spec in contract.states:
        yield "wiring", f"{spec.next_name} is {spec.name}", partial(_pass_through, spec=spec)


def _rename(graph: GraphProto, names: dict[str, str], *, outputs: bool = True, inputs: bool = True) -> None:
    for _, node in _nodes(graph):
        if inputs:
            node.input[:] = [names.get(name, name) for name in node.input]
        if outputs:
            node.output[:] = [names.get(name, name) for name in node.output]


def _swap(graph: GraphProto, a: str, b: str) -> None:
    _rename(graph, {a: b, b: a})


def _swap_inputs(graph: GraphProto, a: str, b: str) -> None:
    _rename(graph, {a: b, b: a}, outputs=False)


def _pass_through(graph: GraphProto, spec: TensorSpec) -> None:
    _rename(graph, {spec.next_name: "unused." + spec.next_name})
    graph.node.append(helper.make_node("Identity", [spec.name], [spec.next_name]))


def _integers(graph: GraphProto, *values: int) -> list[str]:
    """Names of new constants, one for each value."""
    names = []
    for value in values:
        names.append(f"mutant.{len(graph.initializer)}")
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), names[-1]))
    return names


def _reverse(graph: GraphProto, output: str, axis: int) -> None:
    _rename(graph, {output: "straight." + output})
    ends = _integers(graph, -1, -(2**62), axis, -1)
    graph.node.append(helper.make_node("Slice", ["straight." + output, *ends], [output]))


def _shift(graph: GraphProto, output: str) -> None:
    """The output of the next step; that of the first step comes last."""
    straight, rest, first = (f"{part}.{output}" for part in ("straight", "rest", "first"))
    _rename(graph, {output: straight})
    zero, one, end = _integers(graph, 0, 1, 2**62)
    graph.node.append(helper.make_node("Slice", [straight, one, end, zero], [rest]))
    graph.node.append(helper.make_node("Slice", [straight, zero, one, zero], [first]))
    graph.node.append(helper.make_node("Concat", [rest, first], [output], axis=0))
