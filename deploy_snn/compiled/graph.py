"""From a captured graph to loops: one method for each kind of operator.

Values are tracked for one row: the batch axis has size 1. What depends only on parameters is computed here, by torch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from deploy_snn.compiled.loops import (
    ROWS,
    Array,
    ColumnSum,
    Indirect,
    Item,
    LoopProgram,
    MatrixProduct,
    Operand,
    Product,
    Storage,
    Type,
    Value,
    View,
    views_in,
)
from deploy_snn.compiled.operators import RESHAPES, SAME, Operators
from deploy_snn.compiled.refusal import Refusal
from deploy_snn.compiled.traced import Computed, Constant
from deploy_snn.torch_internals import output_places


class Lifting(Operators):
    """The translation of one captured step."""

    def program(self) -> LoopProgram:
        """Translate the graph. Raises Refusal for an operator that cannot be compiled."""
        captured, contract = self.lowered.step, self.lowered.contract
        graph = captured.graph_module.graph
        results = next(node for node in graph.nodes if node.op == "output").args[0]
        output_at, state_at = output_places(captured)
        binary = self._binary_states(graph, results, state_at)
        inputs = [self._array(spec, Storage.INPUT) for spec in contract.inputs]
        states = [self._array(spec, Storage.STATE, spikes=spec.name in binary) for spec in contract.states]
        outputs = [self._array(spec, Storage.OUTPUT) for spec in contract.outputs]
        given = [
            View.of(array, spec.shape(batch=1))
            for array, spec in zip([*inputs, *states], [*contract.inputs, *contract.states], strict=True)
        ]
        self._walk(captured, given)
        shared: list[Value] = []
        recorded: list[tuple[Array, Array]] = []
        next_values = [(self._environment[results[state_at[array.tensor]]], array) for array in states if array.shared]
        places = [(array, output_at) for array in outputs] + [(array, state_at) for array in states]
        # What rows share comes last: it is computed from the next states of the rows.
        for array, at in sorted(places, key=lambda pair: pair[0].storage is Storage.STATE and pair[0].shared):
            node = results[at[array.tensor]]
            self._node = node if isinstance(node, Node) else None
            traced = self._environment[node]
            state = next((state for value, state in next_values if value is traced), None)
            if array.storage is Storage.OUTPUT and array.shared and state is not None:
                recorded.append((array, state))
            elif array.storage is Storage.STATE and array.shared:
                self._store_shared(traced, array, shared)
            else:
                self._store(traced, array)
        self._alias_stored_outputs(shared)
        return LoopProgram(inputs, outputs, states, self.constants, self.work, self._reachable(shared), shared, recorded)

    def normalisation(self, states: list[Array]) -> LoopProgram | None:
        """Translate the normalisation of the weights, which are among ``states``; None for a program that has none."""
        captured = self.lowered.normalise
        if captured is None:
            return None
        weights = [next(a for a in states if a.tensor == spec.name) for spec in self.lowered.contract.weights]
        self.items, self.work, self._stored, self._environment = [], [], {}, {}
        self._walk(
            captured, [View.of(a, spec.shape()) for a, spec in zip(weights, self.lowered.contract.weights, strict=True)]
        )
        results = next(node for node in captured.graph_module.graph.nodes if node.op == "output").args[0]
        _, state_at = output_places(captured)
        for array in weights:
            traced = self._environment[results[state_at[array.tensor]]]
            if not (isinstance(traced, View) and traced.array is array):
                self._store(traced, array)
        return LoopProgram([], [], weights, self.constants, self.work, self._reachable([]), [], [])

    def _walk(self, captured: ExportedProgram, given: list[View]) -> None:
        """Translate the nodes of a graph whose inputs are ``given``, in their order."""
        signature = captured.graph_signature.input_specs
        kinds = dict(zip([s.arg.name for s in signature], signature, strict=True))
        remaining = iter(given)
        for node in captured.graph_module.graph.nodes:
            self._node = node
            if node.op == "placeholder":
                spec = kinds[node.name]
                if spec.kind is InputKind.USER_INPUT:
                    self._environment[node] = next(remaining)
                else:
                    target = str(spec.target)
                    held = captured.state_dict[target] if target in captured.state_dict else captured.constants[target]
                    name, owner = self.lowered.readable_name(target)
                    self._environment[node] = Constant(held.detach(), name, owner)
            elif node.op == "call_function":
                self._environment[node] = self._call(node)
        self._node = None

    def _binary_states(self, graph: Any, results: Sequence[Any], state_at: dict[str, int]) -> set[str]:
        """The states that hold only 0 and 1: they start so, and every next state is made of spikes."""
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        specs = self.lowered.contract.states
        nodes = dict(zip([spec.name for spec in specs], placeholders[len(placeholders) - len(specs) :], strict=True))
        initial = self.lowered.initial_state
        found = {name for name in nodes if bool(((initial[name] == 0) | (initial[name] == 1)).all())}
        while True:
            known = {nodes[name] for name in found}
            still = {name for name in found if _is_binary(results[state_at[name]], known)}
            if still == found:
                return found
            found = still

    # Results.

    def _store(self, traced: Any, array: Array) -> None:
        if isinstance(traced, Computed):
            value, shape = traced.value, traced.shape
        else:
            value, shape = self._copy(traced), traced.shape
        value.stores.append(View.of(array, shape))

    def _store_shared(self, traced: Any, array: Array, shared: list[Value]) -> None:
        """Store a state that all rows share. It may depend on sums over the rows, on shared states, and on parameters."""
        copies: dict[Value, Value] = {}

        def copied(operand: Operand) -> Operand:
            if isinstance(operand, View) and not (
                operand.array.storage is Storage.CONSTANT
                or (operand.array.storage is Storage.STATE and operand.array.shared)
            ):
                raise self._refusal(f"the state {array.tensor}, which rows share but which depends on one row")
            if isinstance(operand, Indirect):
                raise self._refusal(f"the state {array.tensor}, which rows share, with a gather")
            return again(operand) if isinstance(operand, Value) else operand

        def again(value: Value) -> Value:
            if value not in copies:
                convert = self._after_rows if value.op == ROWS else copied
                operands = [convert(operand) for operand in value.operands]
                copies[value] = Value(value.op, operands, value.shape, value.type, value.owner)
                shared.append(copies[value])
            return copies[value]

        value = traced.value if isinstance(traced, Computed) else self._copy(traced)
        again(value).stores.append(View.of(array, value.shape))

    def _after_rows(self, operand: Operand) -> Operand:  # noqa: PLR0911  (one return for each kind)
        """What a row computed, read after all rows have made their step: memory that lasts, with this step's values."""
        if isinstance(operand, Indirect):
            view = self._after_rows(operand.view)
            assert isinstance(view, View)
            return replace(operand, view=view)
        if isinstance(operand, View):
            array = operand.array
            if array.storage is Storage.CONSTANT:
                return operand
            if array.storage is Storage.STATE and array.shared:
                raise self._refusal("a sum over the rows of a batch with a state that the rows share")
            if array.storage is not Storage.WORK:  # by then a state has its next value, and the caller's arrays are gone
                if array not in self._kept:
                    flat = (array.size,)
                    kept = self._view(Computed(self._copy(View.of(array, flat)), flat)).array
                    kept.sparse = array.sparse or array.type is Type.SPIKE
                    self._kept[array] = kept
                array = self._kept[array]
            array.shared = True
            return replace(operand, array=array)
        if isinstance(operand, Value):
            if operand in self._stored:
                return self._after_rows(View.of(self._stored[operand], operand.shape))
            state = next((s for s in operand.stores if s.array.storage is Storage.STATE), None)
            if state is not None:
                return View.of(state.array, operand.shape)  # its next value
            operands = [self._after_rows(inner) for inner in operand.operands]
            return Value(operand.op, operands, operand.shape, operand.type, operand.owner)
        return operand

    def _alias_stored_outputs(self, shared: list[Value]) -> None:
        """A value that is an output needs no scratch memory of its own, unless the rows' values are read after the rows."""
        kept = _read_after_rows(shared)
        for value, array in self._stored.items():
            output = next(
                (s.array for s in value.stores if s.array.storage is Storage.OUTPUT and s.array.type is array.type), None
            )
            if output is not None and array not in kept:
                value.stores = [store for store in value.stores if store.array is not output]
                self.work.remove(array)
                array.name, array.storage = output.name, Storage.OUTPUT

    def _reachable(self, shared: list[Value]) -> list[Item]:
        """The items that an output or a next state needs, in their order."""
        kept = _read_after_rows(shared)
        producers: dict[Array, list[Item]] = {}
        for item in self.items:
            for array in [s.array for s in item.stores] if isinstance(item, Value) else [item.out]:
                producers.setdefault(array, []).append(item)
        needed: set[Item] = set()
        results = (Storage.OUTPUT, Storage.STATE)
        pending: list[Item] = [
            item
            for item in self.items
            for array in ([store.array for store in item.stores] if isinstance(item, Value) else [item.out])
            if array.storage in results or array in kept
        ]
        while pending:
            item = pending.pop()
            if item in needed:
                continue
            needed.add(item)
            pending += _dependencies(item, producers)
        for item in self.items:
            if item in needed and isinstance(item, Value) and item.op == ROWS:
                raise Refusal("format c cannot compile a row that depends on the other rows of its batch")
        return [item for item in self.items if item in needed]


def _read_after_rows(shared: list[Value]) -> set[Array]:
    """The arrays of the rows that the values which rows share read."""
    return {view.array for value in shared if value.op == ROWS for operand in value.operands for view in views_in(operand)}


def _dependencies(item: Item, producers: dict[Array, list[Item]]) -> list[Item]:
    found: list[Item] = []
    operands: list[Any] = item.operands if isinstance(item, Value) else item.reads()
    inner = item.w if isinstance(item, Product | MatrixProduct) else item.z if isinstance(item, ColumnSum) else None
    if isinstance(inner, Value):
        found.append(inner)
    for operand in operands:
        if isinstance(operand, Value):
            found.append(operand)
        views = (
            [operand]
            if isinstance(operand, View)
            else [operand.view, operand.index]
            if isinstance(operand, Indirect)
            else []
        )
        for view in views:
            found += producers.get(view.array, [])
    return found


def _is_binary(node: Any, known: set[Node]) -> bool:
    """Whether a tensor of the graph holds only 0 and 1, given states that do."""
    if node in known:
        return True
    if not isinstance(node, Node) or node.op != "call_function":
        return False
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    source = node.args[0]
    if name == "cat":
        return all(_is_binary(part, known) for part in source)  # type: ignore[union-attr]
    if name in ("to", "_to_copy") and isinstance(source, Node) and source.meta["val"].dtype == torch.bool:
        return True
    if name in SAME | RESHAPES | {"narrow", "slice", "select", "permute", "expand"}:
        return _is_binary(source, known)
    return False
