"""Learnt weights: the next value of each weight, and which weights a step can change at all.

A learning rule is an elementwise expression over the weights ``[N, M]``: of the weight itself, and of *terms*, products of
what the sources and the targets did, added up over the rows of a batch. Where neither the source nor the target of a weight
spiked, most rules leave it as it is. Then only the rows and columns of neurons that spiked are computed.
"""

import math
from dataclasses import dataclass

from deploy_snn.compiled.loops import ROWS, Array, Literal, Operand, Storage, Type, Value, View, views_in
from deploy_snn.compiled.names import Namespace
from deploy_snn.compiled.refusal import Refusal


@dataclass(frozen=True)
class Term:
    """A sum over the rows of a batch. ``array`` holds it for the weights of one source, ``[M]``."""

    array: Array
    of_row: Value
    """What one row adds, ``[N, M]``."""


@dataclass(frozen=True)
class WeightUpdate:
    """How the weights ``[N, M]`` of a connection change after a step."""

    weights: Array
    values: list[Value]
    """The expression, inner values first. The last one is the next weight."""
    extents: tuple[int, int]
    terms: list[Term]
    source_spikes: list[View]
    """Where all of these are 0 for a source, and all ``target_spikes`` for a target, their weight does not change."""
    target_spikes: list[View]
    event_driven: bool
    """Whether that is so. Else every weight is computed in every step."""


def weight_updates(shared: list[Value], names: Namespace) -> tuple[list[WeightUpdate], list[Value]]:
    """Split what rows share into weight updates and the rest."""
    updates, rest = [], []
    trees = [_tree(value) for value in shared if value.stores]
    for tree in trees:
        if any(value.op == ROWS and isinstance(value.operands[0], Value) for value in tree):
            updates.append(_update(tree, names))
        else:
            rest += tree
    return updates, list(dict.fromkeys(rest))


def _tree(root: Value) -> list[Value]:
    """A value and all that it is computed from, inner values first; not what is inside the sums over rows."""
    found: dict[Value, None] = {}

    def visit(value: Value) -> None:
        for operand in value.operands if value.op != ROWS else []:
            if isinstance(operand, Value) and operand not in found:
                visit(operand)
        found[value] = None

    visit(root)
    return list(found)


def _update(tree: list[Value], names: Namespace) -> WeightUpdate:
    root = tree[-1]
    weights = root.stores[0].array
    extents = (math.prod(root.shape[:-1]), root.shape[-1])
    if any(view.array is weights and not view.is_whole for value in tree for view in views_in(value)):
        raise Refusal(
            f"format c cannot compile the state {weights.tensor}, whose next value depends on other elements of it"
        )
    terms: dict[Value, Term] = {}
    for value in tree:
        for place, operand in enumerate(value.operands):
            if isinstance(operand, Value) and operand.op == ROWS:
                if operand not in terms:
                    (of_row,) = operand.operands
                    assert isinstance(of_row, Value)
                    array = Array(names.add(f"{weights.name}_term"), Type.FLOAT, extents[1], Storage.WORK, shared=True)
                    terms[operand] = Term(array, of_row)
                term = View(terms[operand].array, extents, (0, 1))
                value.operands[place] = term.replaced(operand.shape, [0] * (len(operand.shape) - 1) + [1])
    leaves = {view.array: view for term in terms.values() for view in views_in(term.of_row)}
    spikes = {array: view for array, view in leaves.items() if array.sparse or array.type is Type.SPIKE}
    by_axis = [[view for view in spikes.values() if _varies_along(view, extents) == axis] for axis in (0, 1)]
    silent = {view.array for views in by_axis for view in views}
    without_terms = _without_terms(root, weights, {term.array for term in terms.values()})
    event_driven = without_terms == "weight" and all(_is_zero(term.of_row, silent) for term in terms.values())
    values = [value for value in tree if value.op != ROWS]
    return WeightUpdate(weights, values, extents, list(terms.values()), by_axis[0], by_axis[1], event_driven)


def _varies_along(view: View, extents: tuple[int, int]) -> int | None:
    """The axis, 0 for sources or 1 for targets, along which a view of ``[N, M]`` moves; None for both or neither."""
    if (math.prod(view.shape[:-1]), view.shape[-1]) != extents:
        return None
    outer = any(s for n, s in zip(view.shape[:-1], view.strides[:-1], strict=True) if n > 1)
    inner = bool(view.strides[-1]) and view.shape[-1] > 1
    if outer == inner:
        return None
    return 0 if outer else 1


def _is_zero(operand: Operand, silent: set[Array]) -> bool:  # noqa: PLR0911  (one return for each kind)
    """Whether an operand is 0 where the elements of the ``silent`` arrays are 0."""
    if isinstance(operand, View):
        return operand.array in silent
    if isinstance(operand, Literal):
        return operand.value == 0
    if not isinstance(operand, Value):
        return False
    found = [_is_zero(inner, silent) for inner in operand.operands]
    match operand.op:
        case "mul":
            return any(found)
        case "div":
            return found[0]
        case "add" | "sub" | "neg" | "copy":
            return all(found)
    return False


def _without_terms(  # noqa: C901, PLR0911  (one return for each pattern)
    operand: Operand, weights: Array, terms: set[Array]
) -> str:
    """What an operand is if all terms are 0: "zero", "weight" or "other".

    The weight is within its limits, because the step before limited it.
    """
    if isinstance(operand, View):
        return "zero" if operand.array in terms else "weight" if operand.array is weights else "other"
    if isinstance(operand, Literal):
        return "zero" if operand.value == 0 else "other"
    if not isinstance(operand, Value):
        return "other"
    found = [_without_terms(inner, weights, terms) for inner in operand.operands]
    match operand.op, found:
        case "mul", _ if "zero" in found:
            return "zero"
        case "div", ["zero", _]:
            return "zero"
        case (("add" | "sub"), [first, "zero"]):
            return first
        case "add", ["zero", second]:
            return second
        case (("copy" | "neg"), ["zero"]):
            return "zero"
        case (("copy" | "maximum" | "minimum"), ["weight", *_]):
            return "weight"
        case "where", ["other", *sides] if set(sides) <= {"weight", "zero"}:  # a mask, which the step before applied
            return "weight"
    return "other"
