"""From a captured graph to loops: one method for each kind of operator.

Values are tracked for one row: the batch axis has size 1. What depends only on parameters is computed here, by torch.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from deploy_snn.compiled.integers import integer_weights
from deploy_snn.compiled.linear import LinearForm
from deploy_snn.compiled.loops import (
    NUMPY,
    ROWS,
    ArgMax,
    Array,
    ColumnSum,
    Convolution,
    Indirect,
    Item,
    Kernel,
    Literal,
    LoopProgram,
    MatrixProduct,
    MaxIndex,
    Operand,
    Position,
    Product,
    SparseProduct,
    Storage,
    Sum,
    Type,
    Value,
    View,
    views_in,
)
from deploy_snn.compiled.names import Namespace
from deploy_snn.compiled.refusal import Refusal
from deploy_snn.contract import TensorSpec
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import output_places

ALIASES = {
    "__and__": "and", "bitwise_and": "and", "logical_and": "and", "__or__": "or", "bitwise_or": "or",
    "logical_or": "or", "__xor__": "ne", "bitwise_xor": "ne", "logical_xor": "ne", "bitwise_not": "not",
    "logical_not": "not", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub",
}  # fmt: skip
LOGIC = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not"})
ARITHMETIC = frozenset(
    {"add", "sub", "mul", "div", "neg", "abs", "exp", "log", "sqrt", "tanh", "sigmoid", "floor", "ceil", "round",
     "maximum", "minimum", "reciprocal", "relu"}
)  # fmt: skip
SAME = frozenset({"clone", "contiguous", "detach", "alias", "lift_fresh_copy", "to", "_to_copy"})
RESHAPES = frozenset({"reshape", "view", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze"})
OUTER = frozenset({"t", "transpose", "matmul", "mm", "addmm"})
"""Operators of an outer product that is summed over the batch: the batch is the axis that the product contracts."""
DTYPES = {torch.float32: Type.FLOAT, torch.bool: Type.SPIKE, torch.int64: Type.INT32, torch.int32: Type.INT32}

STORED_AS = {"ge": "fired", "gt": "fired", "where": "chosen", "mul": "terms", "add": "sums"}
"""What a stored value is called, by its operation."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that depends only on parameters."""

    tensor: Tensor
    name: str = "constant"
    owner: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)


@dataclass(frozen=True, eq=False)
class Computed:
    """The elements of a value, in a shape."""

    value: Value
    shape: tuple[int, ...]


Traced = Constant | Computed | View | LinearForm


class Lifting:
    """The translation of one captured step."""

    def __init__(self, lowered: Lowered, names: Namespace) -> None:
        self.lowered = lowered
        self.names = names
        self.items: list[Item] = []
        self.constants: list[Array] = []
        self.work: list[Array] = []
        self.owners: dict[Array, str] = {}
        self._stored: dict[Value, Array] = {}
        self._kept: dict[Array, Array] = {}
        self._interned: dict[tuple[str, bytes], Array] = {}
        self._environment: dict[Node, Any] = {}
        self._node: Node | None = None

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

    # Arrays.

    def _array(self, spec: TensorSpec, storage: Storage, *, spikes: bool = False) -> Array:
        is_spike = spikes or spec.dtype == "bool"
        size = math.prod(spec.shape(batch=1))
        array = Array(
            self.names.add(spec.name),
            Type.SPIKE if is_spike else Type.FLOAT,
            size,
            storage,
            spec.name,
            shared=spec.batch_axis is None,
        )
        self.owners[array] = spec.owner
        return array

    def _constant_array(self, name: str, owner: str, kind: Type, values: Any) -> Array:
        data = np.ascontiguousarray(values, NUMPY[kind]).reshape(-1)
        key = (kind.value + name, data.tobytes())
        if key not in self._interned:
            self._interned[key] = Array(self.names.add(name), kind, data.size, Storage.CONSTANT, values=data)
            self.owners[self._interned[key]] = owner
            self.constants.append(self._interned[key])
        return self._interned[key]

    def _work_array(self, name: str, kind: Type, size: int, owner: str) -> Array:
        array = Array(self.names.add(name), kind, size, Storage.WORK)
        self.owners[array] = owner
        self.work.append(array)
        return array

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

    # Operands.

    def _shape(self, node: Node) -> tuple[int, ...]:
        return tuple(_row_size(size) for size in node.meta["val"].shape)

    def _operand(self, traced: Any, shape: tuple[int, ...]) -> Operand:  # noqa: PLR0911  (one return for each kind)
        """A tensor as an operand of an elementwise operation with this shape."""
        if isinstance(traced, bool | int | float):
            return Literal(traced)
        if isinstance(traced, Constant):
            return self._constant_operand(traced, shape)
        if isinstance(traced, Computed):
            if _squeezed(traced.shape) == _squeezed(shape):
                return traced.value
            return self._view(traced).broadcast(shape)
        if isinstance(traced, LinearForm):
            if traced.is_selection:
                index = self._constant_array(f"{self._owner_of(traced)}_places", "", Type.INT32, traced.sources.numpy())
                source = traced.source.array
                start = View(source, traced.shape, (0,) * len(traced.shape), traced.source.offset)
                return Indirect(start.broadcast(shape), 1, View.of(index, traced.shape).broadcast(shape))
            return self._view(traced).broadcast(shape)
        view: View = traced
        return view.broadcast(shape)

    def _constant_operand(self, constant: Constant, shape: tuple[int, ...]) -> Operand:
        tensor = constant.tensor
        kind = self._type(tensor.dtype)
        first = tensor.reshape(-1)[:1]
        if bool((tensor == first).all()):
            number = first.item()
            if constant.name == "constant" or kind is not Type.FLOAT:
                return Literal(number)
            array = self._constant_array(constant.name, constant.owner, kind, first.numpy())
            return View(array, shape, (0,) * len(shape))
        own = View.of(Array("", kind, tensor.numel(), Storage.CONSTANT), tensor.shape).broadcast(shape)
        if kind is Type.INT32 and torch.equal(tensor.flatten(), torch.arange(tensor.numel(), dtype=tensor.dtype)):
            return Position(own.shape, own.strides)
        array = self._constant_array(constant.name, constant.owner, kind, tensor.numpy())
        return View.of(array, tensor.shape).broadcast(shape)

    def _view(self, traced: Any) -> View:
        """A tensor as elements of an array; a computed one is stored."""
        if isinstance(traced, View):
            return traced
        if isinstance(traced, Computed):
            value = traced.value
            if value not in self._stored:
                name = f"{self._owner_of(traced)}_{STORED_AS.get(value.op, 'values')}"
                self._stored[value] = self._work_array(name, value.type, value.size, value.owner)
                self._stored[value].sparse = _is_sparse(value)
                value.stores.append(View.of(self._stored[value], value.shape))
            return View.of(self._stored[value], traced.shape)
        if isinstance(traced, Constant):
            kind = self._type(traced.tensor.dtype)
            return View.of(self._constant_array(traced.name, traced.owner, kind, traced.tensor.numpy()), traced.shape)
        if isinstance(traced, LinearForm):
            return self._view(Computed(self._copy(traced), traced.shape)) if traced.is_selection else self._apply(traced)
        raise self._refusal("an operand that is a number")

    def _flat_view(self, traced: Any, shape: Sequence[int]) -> View:
        """A tensor as a view of this shape whose elements follow each other."""
        view = self._view(traced)
        reshaped = view.reshaped(shape)
        if reshaped is None or not reshaped.is_flat:
            reshaped = self._view(Computed(self._copy(view), view.shape)).reshaped(shape)
        assert reshaped is not None
        return reshaped

    def _copy(self, traced: Any) -> Value:
        shape = traced.shape
        operand = self._operand(traced, shape)
        kind = operand.type if isinstance(operand, Value) else _type_of(operand)
        return self._value("copy", [operand], shape, kind)

    def _value(self, op: str, operands: list[Operand], shape: tuple[int, ...], kind: Type) -> Value:
        value = Value(op, operands, shape, kind, self._owner_of_operands(operands))
        self.items.append(value)
        return value

    def _type(self, dtype: torch.dtype) -> Type:
        if dtype not in DTYPES:
            raise self._refusal(f"a tensor of {str(dtype).removeprefix('torch.')}")
        return DTYPES[dtype]

    # Owners, for names and messages.

    def _owner_of(self, traced: Any) -> str:
        match traced:
            case Constant():
                return traced.owner
            case Computed():
                return traced.value.owner
            case View():
                return self.owners.get(traced.array, "")
            case LinearForm():
                return self._owner_of(traced.source)
        return ""

    def _owner_of_operands(self, operands: Sequence[Operand]) -> str:
        for operand in operands:
            match operand:
                case Value():
                    owner = operand.owner
                case View():
                    owner = self.owners.get(operand.array, "")
                case Indirect():
                    owner = self.owners.get(operand.view.array, "")
                case _:
                    owner = ""
            if owner:
                return owner
        return ""

    def _refusal(self, what: str) -> Refusal:
        owner = ""
        if self._node is not None:
            traced = [self._environment.get(node) for node in self._node.all_input_nodes]
            owner = next((found for found in map(self._owner_of, traced) if found), "")
        where = f" in {owner}" if owner else ""
        return Refusal(f"format c cannot compile {what}{where}: export without the format c")

    # Operators.

    def _call(self, node: Node) -> Any:
        if node.target is operator.getitem:
            source, index = node.args
            return self._environment[source][index]  # type: ignore[index]
        name = str(node.target)
        base = name.removeprefix("aten.").partition(".")[0] if name.startswith("aten.") else name
        if base in ("_assert_tensor_metadata", "sym_constrain_range_for_size", "_assert_scalar"):
            return None
        if base.startswith("sym_size"):
            return 1
        in_place = base.endswith("_") and not base.endswith("__")
        if in_place:
            result = self._translate(node, name, base[:-1])
            target = node.args[0]
            assert isinstance(target, Node)
            self._environment[target] = result  # later reads see the new values
            return result
        return self._translate(node, name, base)

    def _translate(self, node: Node, name: str, base: str) -> Any:
        arguments = [self._resolve(argument) for argument in node.args]
        keywords = {key: self._resolve(argument) for key, argument in node.kwargs.items()}
        tensors = [
            a
            for a in _flattened([*arguments, *keywords.values()])
            if isinstance(a, Constant | Computed | View | LinearForm)
        ]
        if all(isinstance(t, Constant) for t in tensors):
            return self._fold(node, arguments, keywords)
        base = ALIASES.get(base, base)
        self._check_batch(node, base)
        if base in ("zeros_like", "ones_like", "full_like"):
            fill = {"zeros_like": 0.0, "ones_like": 1.0}.get(base, arguments[-1])
            return Constant(torch.full(self._shape(node), fill, dtype=node.meta["val"].dtype))
        if base in LOGIC | ARITHMETIC | {"rsub", "where", "clamp", "clamp_min", "clamp_max", "pow"}:
            return self._elementwise(node, base, arguments, keywords)
        if base in SAME:
            return self._same(node, arguments[0])
        if base in RESHAPES:
            return self._reshaped(arguments[0], self._shape(node))
        method: Callable[..., Any] | None = getattr(self, f"_op_{base}", None)
        if method is None:
            raise self._refusal(f"the operator {name}")
        return method(node, *arguments, **keywords)

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, Node):
            return self._environment[argument]
        if isinstance(argument, list | tuple):
            return [self._resolve(inner) for inner in argument]
        return argument

    def _check_batch(self, node: Node, base: str) -> None:
        """Refuse what mixes the rows of a batch. Only a sum over the batch axis is translated."""
        for other in (node, *node.all_input_nodes):
            shape = getattr(other.meta.get("val"), "shape", ())
            mixed = [s for a, s in enumerate(shape) if not isinstance(s, int) and (a > 0 or not s.node.expr.is_symbol)]
            if mixed and base not in RESHAPES | OUTER:
                raise self._refusal(f"the operator {node.target} over the rows of a batch")

    def _fold(self, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        constants = [a for a in _flattened([*arguments, *keywords.values()]) if isinstance(a, Constant)]

        def held(argument: Any) -> Any:
            if isinstance(argument, list):
                return [held(inner) for inner in argument]
            return argument.tensor if isinstance(argument, Constant) else argument

        with torch.no_grad():
            result = node.target(*map(held, arguments), **{k: held(v) for k, v in keywords.items()})  # type: ignore[operator]
        named = [c for c in constants if c.name != "constant"]
        name = "_".join(
            dict.fromkeys(c.name if k == 0 else c.name.removeprefix(f"{c.owner}_") for k, c in enumerate(named))
        )
        base = str(node.target).removeprefix("aten.").partition(".")[0]
        if len(named) == 1 and base in LOGIC | ARITHMETIC | {"rsub"}:
            name = f"{name}_{base}"
        owner = next((c.owner for c in named), "")
        if isinstance(result, Tensor):
            return Constant(result.contiguous(), name or "constant", owner)
        return [Constant(part.contiguous(), name or "constant", owner) for part in result]

    def _elementwise(  # noqa: C901, PLR0912  (one branch for each form)
        self, node: Node, base: str, arguments: list[Any], keywords: dict[str, Any]
    ) -> Any:
        if base == "add" and keywords.get("alpha", 1) == -1:
            base = "sub"
        elif keywords.get("alpha", 1) != 1 or (base in ("add", "sub") and len(arguments) > 2):
            raise self._refusal(f"the operator {node.target} with a factor")
        if base == "reciprocal":
            base, arguments = "div", [1.0, arguments[0]]
        if base == "div" and keywords.get("rounding_mode") is not None:
            raise self._refusal(f"the operator {node.target} with rounding")
        shape = self._shape(node)
        dtype = node.meta["val"].dtype
        if base == "mul" and len(arguments) == 2:
            scaled = self._scaled(arguments, shape)
            if scaled is not None:
                return scaled
        kind = self._type(dtype)
        if kind is Type.INT32 and base not in LOGIC:
            raise self._refusal(f"the operator {node.target} on integers")
        if base in ("clamp", "clamp_min", "clamp_max"):
            low = arguments[1] if base != "clamp_max" and len(arguments) > 1 else keywords.get("min")
            high = keywords.get(
                "max", arguments[2] if len(arguments) > 2 else arguments[1] if base == "clamp_max" else None
            )
            found = arguments[0]
            for op, bound in (("maximum", low), ("minimum", high)):
                if bound is not None and not (isinstance(bound, float) and math.isinf(bound)):
                    operands = [self._operand(found, shape), self._operand(bound, shape)]
                    found = Computed(self._value(op, operands, shape, kind), shape)
            return found
        if base == "pow":
            if arguments[1] != 2:
                raise self._refusal(f"the operator {node.target} with the exponent {arguments[1]}")
            base, arguments = "mul", [arguments[0], arguments[0]]
        if base == "rsub":
            base, arguments = "sub", [arguments[1], arguments[0]]
        operands = [self._operand(argument, shape) for argument in arguments]
        return Computed(self._value(base, operands, shape, kind), shape)

    def _scaled(self, arguments: list[Any], shape: tuple[int, ...]) -> LinearForm | None:
        """A selection times constants, as a linear form; None for other factors."""
        form = next((a for a in arguments if isinstance(a, LinearForm) and a.is_selection), None)
        weights = next((a for a in arguments if isinstance(a, Constant)), None)
        if form is None or weights is None or _squeezed(form.shape) != _squeezed(shape):
            return None
        return form.rearranged(lambda t: t.reshape(shape)).weighted(weights.tensor)

    def _same(self, node: Node, traced: Any) -> Any:
        dtype = node.meta["val"].dtype
        source = node.args[0].meta["val"].dtype  # type: ignore[union-attr]
        if dtype == source or (dtype, source) == (torch.float32, torch.bool):
            return traced  # spikes are the numbers 0 and 1
        if dtype == torch.bool and source == torch.float32:
            shape = self._shape(node)
            return Computed(self._value("ne", [self._operand(traced, shape), Literal(0.0)], shape, Type.SPIKE), shape)
        raise self._refusal(f"a conversion from {source} to {dtype}".replace("torch.", ""))

    # Views.

    def _reshaped(self, traced: Any, shape: tuple[int, ...]) -> Any:
        if isinstance(traced, Computed):
            return Computed(traced.value, shape)
        if isinstance(traced, LinearForm):
            return traced.rearranged(lambda t: t.reshape(shape))
        view = self._view(traced)
        reshaped = view.reshaped(shape)
        return Computed(self._copy(view), shape) if reshaped is None else reshaped

    def _moved(self, traced: Any, on_view: Callable[[View], View], on_tensor: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(traced, LinearForm):
            return traced.rearranged(on_tensor)
        return on_view(self._view(traced))

    def _op_expand(self, node: Node, traced: Any, *_: Any, **__: Any) -> Any:
        shape = self._shape(node)
        if math.prod(traced.shape) == math.prod(shape):
            return self._reshaped(traced, shape)
        return self._view(traced).broadcast(shape)

    def _op_permute(self, node: Node, traced: Any, axes: Sequence[int]) -> Any:
        axes = [axis % len(traced.shape) for axis in axes]
        return self._moved(traced, lambda v: v.permuted(axes), lambda t: t.permute(axes))

    def _op_transpose(self, node: Node, traced: Any, a: int, b: int) -> Any:
        axes = list(range(len(traced.shape)))
        axes[a], axes[b] = axes[b], axes[a]
        return self._op_permute(node, traced, axes)

    def _op_t(self, node: Node, traced: Any) -> Any:
        return self._op_transpose(node, traced, 0, 1)

    def _op_narrow(self, node: Node, traced: Any, axis: int, start: int, length: int) -> Any:
        axis %= len(traced.shape)
        return self._moved(traced, lambda v: v.narrowed(axis, start, length), lambda t: t.narrow(axis, start, length))

    def _op_slice(  # noqa: PLR0917  (aten's order)
        self, node: Node, traced: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> Any:
        size = traced.shape[axis]
        first, last, _ = slice(start, end).indices(size)
        if step != 1:
            raise self._refusal("a slice with a step")
        return self._op_narrow(node, traced, axis, first, last - first)

    def _op_select(self, node: Node, traced: Any, axis: int, index: int) -> Any:
        axis %= len(traced.shape)
        index %= traced.shape[axis]
        return self._moved(traced, lambda v: v.narrowed(axis, index, 1).without(axis), lambda t: t.select(axis, index))

    def _op_split_with_sizes(self, node: Node, traced: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
        starts = np.cumsum([0, *sizes]).tolist()
        return [self._op_narrow(node, traced, axis, start, size) for start, size in zip(starts, sizes, strict=False)]

    def _op_cat(self, node: Node, parts: list[Any], axis: int = 0) -> Any:
        return self._joined(parts, axis % len(self._shape(node)), self._shape(node), node.name)

    def _op_pad(self, node: Node, traced: Any, padding: Sequence[int], mode: str = "constant", value: float = 0) -> Any:
        if mode != "constant" or value:
            raise self._refusal(f"the operator {node.target} with another value than 0")
        shape, last = list(traced.shape), len(traced.shape) - 1
        for back, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
            axis = last - back
            zeros = [
                Constant(torch.zeros([n if a != axis else size for a, n in enumerate(shape)])) for size in (before, after)
            ]
            shape[axis] += before + after
            parts = [part for part in (zeros[0], traced, zeros[1]) if part.shape[axis]]
            if len(parts) > 1:
                traced = self._joined(parts, axis, tuple(shape), node.name)
        return traced

    def _joined(self, parts: list[Any], axis: int, shape: tuple[int, ...], name: str) -> Any:
        if all(isinstance(p, LinearForm) and p.source.array is parts[0].source.array for p in parts):
            first: LinearForm = parts[0]
            return first.joined(parts[1:], axis, shape)
        kinds = {self._copy_type(part) for part in parts}
        kind = kinds.pop() if len(kinds) == 1 else Type.FLOAT
        owner = next((found for found in map(self._owner_of, parts) if found), "")
        whole = View.of(self._work_array(f"{owner}_{name}", kind, math.prod(shape), owner), shape)
        start = 0
        for part in parts:
            length = part.shape[axis]
            value = part.value if isinstance(part, Computed) else self._copy(part)
            value.stores.append(whole.narrowed(axis, start, length))
            start += length
        return whole

    def _copy_type(self, traced: Any) -> Type:
        if isinstance(traced, Computed):
            return traced.value.type
        if isinstance(traced, View):
            return traced.array.type
        return self._type(traced.tensor.dtype) if isinstance(traced, Constant) else Type.FLOAT

    def _op_index_select(self, node: Node, traced: Any, axis: int, index: Any) -> Any:
        if not isinstance(index, Constant):
            raise self._refusal("a selection with an index that the step computes")
        if not isinstance(traced, LinearForm):
            source = self._flat_view(traced, traced.shape)
            size = source.size
            traced = LinearForm(source, source.shape, torch.arange(size)[:, None])
        return traced.rearranged(lambda t: t.index_select(axis, index.tensor))

    def _op_gather(self, node: Node, traced: Any, axis: int, index: Any, **_: Any) -> Any:
        axis %= len(traced.shape)
        shape = self._shape(node)
        view, places = self._view(traced), self._view(index)
        base = view.replaced(shape, [0 if a == axis else s for a, s in enumerate(view.strides)])
        operand = Indirect(base, view.strides[axis], places)
        return Computed(self._value("copy", [operand], shape, view.array.type), shape)

    # Kernels.

    def _kernel(self, kernel: Kernel) -> None:
        self.items.append(kernel)

    def _spikes_only(self, view: View) -> bool:
        return view.array.type is Type.SPIKE

    def _op_matmul(self, node: Node, left: Any, right: Any) -> Any:
        if not isinstance(node.args[0].meta["val"].shape[-1], int):  # type: ignore[union-attr]
            return self._outer(left, right, self._shape(node))
        if (
            not isinstance(left, Constant)
            and not isinstance(right, Constant)
            and len(right.shape) == 3
            and left.shape[-2] > 1
        ):
            return self._products(node, left, right)
        rows, columns = right.shape[-2:] if len(right.shape) > 1 else (right.shape[0], 1)
        if math.prod(left.shape) != rows or math.prod(right.shape) != rows * columns or isinstance(left, Constant):
            raise self._refusal(f"the operator {node.target} on {list(left.shape)} and {list(right.shape)}")
        z = self._flat_view(left, (rows,))
        owner = self._owner_of(right) or self._owner_of(left)
        scale, integers = 1.0, None
        if isinstance(right, Constant):
            matrix = right.tensor.reshape(rows, columns)
            self._check_finite(matrix, owner)
            if self._spikes_only(z):
                integers = integer_weights(matrix, float(matrix.double().abs().sum(0).max()))
        if integers is None:
            w = self._weights(right, (rows, columns))
        else:
            scale = integers.scale
            w = View.of(self._constant_array(right.name, owner, integers.type, integers.values), (rows, columns))
        out = self._work_array(f"{owner}_drive", Type.FLOAT, columns, owner)
        self._kernel(Product(out, owner, z, w, columns, scale))
        return View.of(out, self._shape(node))

    _op_mm = _op_bmm = _op_matmul

    def _products(self, node: Node, left: Any, right: Any) -> View:
        """The product of two matrices ``[O, P]`` and ``[P, K]`` that the step computes."""
        shape, owner = self._shape(node), self._owner_of(left) or self._owner_of(right)
        out = self._work_array(f"{owner}_products", Type.FLOAT, math.prod(shape), owner)
        z, w = (
            self._flat_view(left, left.shape[-2:]),
            self._operand(self._reshaped(right, right.shape[-2:]), right.shape[-2:]),
        )
        self._kernel(MatrixProduct(out, owner, z, w))
        return View.of(out, shape)

    def _outer(self, left: Any, right: Any, shape: tuple[int, ...]) -> Computed:
        """The outer product of ``left`` ``[N, 1]`` and ``right`` ``[1, M]``, summed over the rows of a batch."""
        factors: list[Operand] = [self._view(factor).broadcast(shape) for factor in (left, right)]
        product = self._value("mul", factors, shape, Type.FLOAT)
        return Computed(self._value(ROWS, [product], shape, Type.FLOAT), shape)

    def _op_addmm(self, node: Node, x: Any, left: Any, right: Any, *, alpha: float = 1, beta: float = 1) -> Any:
        if isinstance(node.args[1].meta["val"].shape[-1], int) or beta != 1 or alpha not in (1, -1):  # type: ignore[union-attr]
            raise self._refusal(f"the operator {node.target}")
        shape = self._shape(node)
        product = self._outer(left, right, shape)
        op = "add" if alpha == 1 else "sub"
        return Computed(self._value(op, [self._operand(x, shape), product.value], shape, Type.FLOAT), shape)

    def _op_masked_fill(self, node: Node, x: Any, mask: Any, number: float) -> Computed:
        shape = self._shape(node)
        operands = [self._operand(part, shape) for part in (mask, number, x)]
        return Computed(self._value("where", operands, shape, self._type(node.meta["val"].dtype)), shape)

    def _op_copy(self, node: Node, _old: Any, new: Any, *_: Any) -> Any:
        return self._reshaped(new, self._shape(node))

    def _op_linear(self, node: Node, x: Any, w: Any, b: Any = None) -> Any:
        if not isinstance(w, Constant):
            raise self._refusal("aten.linear with weights that the step computes")
        product = self._op_matmul(node, x, replace(w, tensor=w.tensor.T.contiguous()))
        if b is None:
            return product
        shape = self._shape(node)
        return Computed(
            self._value("add", [self._operand(product, shape), self._operand(b, shape)], shape, Type.FLOAT), shape
        )

    def _weights(self, traced: Any, shape: tuple[int, int]) -> Operand:
        if isinstance(traced, Computed):
            return traced.value
        if isinstance(traced, Constant):
            return View.of(self._constant_array(traced.name, traced.owner, Type.FLOAT, traced.tensor.numpy()), shape)
        return self._flat_view(traced, shape)

    def _check_finite(self, w: Tensor, owner: str) -> None:
        """A product skips inputs that are 0, but 0 times an infinity is not 0."""
        if not bool(w.isfinite().all()):
            raise Refusal(f"format c cannot compile {owner or 'the product'}: its weights hold NaN or an infinity")

    def _apply(self, form: LinearForm) -> View:
        """A linear form as a sparse product."""
        owner = self._owner_of_form()
        first, targets, weights = form.by_source()
        self._check_finite(weights, owner)
        totals = torch.zeros(math.prod(form.shape), dtype=torch.float64).index_add(0, targets, weights.double().abs())
        integers = (
            integer_weights(weights, float(totals.max())) if self._spikes_only(form.source) and len(weights) else None
        )
        kind, values, scale = (
            (Type.FLOAT, weights.numpy(), 1.0) if integers is None else (integers.type, integers.values, integers.scale)
        )
        prefix = f"{owner}_" if owner else ""
        if len(weights) == 0:  # C has no empty arrays
            targets, values = torch.zeros(1, dtype=torch.int64), np.zeros(1)
        out = self._work_array(f"{prefix}drive", Type.FLOAT, math.prod(form.shape), owner)
        arrays = [
            self._constant_array(f"{prefix}first", owner, Type.INT32, first.numpy()),
            self._constant_array(f"{prefix}target", owner, Type.INT32, targets.numpy()),
            self._constant_array(f"{prefix}w", owner, kind, values),
        ]
        first_array, target_array, weight_array = arrays
        source = form.source.replaced((form.source.size,), (1,))
        self._kernel(SparseProduct(out, owner, source, first_array, target_array, weight_array, scale))
        return View.of(out, form.shape)

    def _owner_of_form(self) -> str:
        """The owner of the constants that the current linear form came from."""
        pending, seen = [self._node] if self._node else [], set()
        while pending:
            node = pending.pop(0)
            for source in node.all_input_nodes:
                held = self._environment.get(source)
                if isinstance(held, Constant) and held.owner and held.name.endswith(("fan_in", "_w", "places", "sources")):
                    return held.owner
                if source not in seen and isinstance(held, LinearForm):
                    seen.add(source)
                    pending.append(source)
        return ""

    def _convolve(self, node: Node, axes: int, arguments: Sequence[Any]) -> View:
        defaults: list[Any] = [None, None, None, [1] * axes, [0] * axes, [1] * axes, 1]
        x, w, b, stride, padding, dilation, groups = [*arguments, *defaults[len(arguments) :]]
        learnt = isinstance(w, View) and w.is_whole and groups == 1
        if not (learnt or isinstance(w, Constant)) or not isinstance(b, Constant | None) or isinstance(padding, str):
            raise self._refusal(f"the operator {node.target} with weights that the step computes")
        channels, *sizes = x.shape[-axes - 1 :]
        n_filters, *places = self._shape(node)[-axes - 1 :]
        z = self._flat_view(x, (channels, *sizes))
        stride, padding, dilation = (_per_axis(given, axes) for given in (stride, padding, dilation))
        owner = self._owner_of(w)
        array, scale = (w.array, 1.0) if learnt else self._filters(w, groups, z)
        bias = None
        if b is not None and bool((b.tensor != 0).any()):
            bias = self._constant_array(b.name, owner, Type.FLOAT, b.tensor.numpy())
        out = self._work_array(f"{owner}_drive", Type.FLOAT, n_filters * math.prod(places), owner)
        kernel = tuple(w.shape[2:])
        self._kernel(
            Convolution(
                out, owner, z, array, bias, channels, tuple(sizes), n_filters, tuple(places), kernel, stride, padding,
                dilation, groups, scale,
            )
        )  # fmt: skip
        return View.of(out, self._shape(node))

    def _filters(self, w: Constant, groups: int, z: View) -> tuple[Array, float]:
        """Filters with the output channels last, and their scale if they are integers."""
        owner, filters = w.owner, w.tensor
        self._check_finite(filters, owner)
        n_filters, channels = filters.shape[0], filters.shape[1] * groups
        grouped = filters.reshape(groups, n_filters // groups, channels // groups, *filters.shape[2:])
        ordered = grouped.permute(0, 2, *range(3, filters.dim() + 1), 1)
        ordered = ordered.reshape(channels, *filters.shape[2:], n_filters // groups)
        sums = float(filters.double().abs().flatten(1).sum(1).max())
        integers = integer_weights(ordered, sums) if self._spikes_only(z) else None
        if bool((filters == filters.flatten()[0]).all()):
            return self._constant_array(w.name, owner, Type.FLOAT, filters.flatten()[:1].numpy()), 1.0
        if integers is not None:
            return self._constant_array(w.name, owner, integers.type, integers.values), integers.scale
        return self._constant_array(w.name, owner, Type.FLOAT, ordered.numpy()), 1.0

    def _op_conv1d(self, node: Node, *arguments: Any) -> View:
        return self._convolve(node, 1, arguments)

    def _op_conv2d(self, node: Node, *arguments: Any) -> View:
        return self._convolve(node, 2, arguments)

    def _op_conv3d(self, node: Node, *arguments: Any) -> View:
        return self._convolve(node, 3, arguments)

    def _op_sum(self, node: Node, traced: Any, axes: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Any:
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        axes = [axis % len(shape) for axis in (axes or range(len(shape)))]
        over_batch = [axis for axis in axes if not isinstance(shape[axis], int)]
        if over_batch:
            if axes != over_batch:
                raise self._refusal("a sum over the batch and other axes")
            if isinstance(traced, Computed) and _is_repeated(traced.value):
                return Computed(self._value(ROWS, [traced.value], self._shape(node), Type.FLOAT), self._shape(node))
            view = self._flat_view(traced, self._shape(node))
            if view.array.storage is not Storage.WORK:
                view = self._flat_view(Computed(self._copy(view), view.shape), view.shape)
            view.array.shared = True
            value = self._value(ROWS, [view], self._shape(node), Type.FLOAT)
            return Computed(value, self._shape(node))
        if axes == [0] and len(traced.shape) == 2 and isinstance(traced, Computed):
            owner = self._owner_of(traced)
            out = self._work_array(f"{owner}_sum", Type.FLOAT, traced.shape[1], owner)
            self._kernel(ColumnSum(out, owner, traced.value))
            return View.of(out, self._shape(node))
        if isinstance(traced, LinearForm) and len(axes) == 1:
            return traced.summed(axes[0], self._shape(node))
        z, owner = self._last_axis(traced, axes), self._owner_of(traced)
        out = self._work_array(f"{owner}_sum", Type.FLOAT, z.shape[0], owner)
        self._kernel(Sum(out, owner, z))
        return View.of(out, self._shape(node))

    def _op_mean(self, node: Node, traced: Any, axes: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Any:
        total = self._op_sum(node, traced, axes, keepdim)
        shape = self._shape(node)
        count = float(math.prod(traced.shape) // math.prod(shape))
        return Computed(self._value("div", [self._operand(total, shape), Literal(count)], shape, Type.FLOAT), shape)

    def _op_argmax(self, node: Node, traced: Any, axis: int | None = None, keepdim: bool = False) -> View:
        if axis is None:
            raise self._refusal("an argmax over all axes")
        z, owner = self._last_axis(traced, [axis % len(traced.shape)]), self._owner_of(traced)
        out = self._work_array(f"{owner}_winner", Type.INT32, z.shape[0], owner)
        mask = self._mask(traced) if z.shape[0] == 1 else None
        self._kernel(ArgMax(out, owner, z, mask))
        return View.of(out, self._shape(node))

    def _mask(self, traced: Any) -> View | None:
        """The spikes that choose the elements of a tensor whose other elements are one number; None without such."""
        value = traced.value if isinstance(traced, Computed) else None
        if value is None or value.op != "where" or not isinstance(value.operands[2], Literal):
            return None
        chooses = value.operands[0]
        return self._view(Computed(chooses, value.shape)) if isinstance(chooses, Value) else None

    def _last_axis(self, traced: Any, axes: Sequence[int]) -> View:
        """``[M, K]``: what remains, and what is reduced."""
        view = self._view(traced)
        kept = [axis for axis in range(len(view.shape)) if axis not in axes]
        length = math.prod(view.shape[axis] for axis in axes)
        return self._flat_view(view.permuted([*kept, *axes]), (view.size // length, length))

    def _pool(self, node: Node, axes: int, x: Any, arguments: Sequence[Any]) -> list[Any]:
        defaults: list[Any] = [None, [], 0, 1, False]
        kernel, stride, padding, dilation, _ = [*arguments, *defaults[len(arguments) :]]
        channels, *sizes = x.shape[-axes - 1 :]
        shape = tuple(_row_size(size) for size in node.meta["val"][1].shape)
        owner = self._owner_of(x)
        out = self._work_array(f"{owner}_winners", Type.INT32, math.prod(shape), owner)
        geometry = [_per_axis(s, axes) for s in (kernel, stride or kernel, padding, dilation)]
        z = self._flat_view(x, (channels, *sizes))
        self._kernel(MaxIndex(out, owner, z, channels, tuple(sizes), shape[-axes:], *geometry))
        winners = View.of(out, shape)
        return [None, winners]

    def _op_max_pool1d_with_indices(self, node: Node, x: Any, *arguments: Any) -> list[Any]:
        return self._pool(node, 1, x, arguments)

    def _op_max_pool2d_with_indices(self, node: Node, x: Any, *arguments: Any) -> list[Any]:
        return self._pool(node, 2, x, arguments)

    def _op_max_pool3d_with_indices(self, node: Node, x: Any, *arguments: Any) -> list[Any]:
        return self._pool(node, 3, x, arguments)

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


def _row_size(size: Any) -> int:
    """The size of an axis for one row: the batch is 1."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _is_sparse(operand: Operand) -> bool:
    """Whether an operand is 0 wherever some spikes are 0."""
    if isinstance(operand, View):
        return operand.array.sparse or operand.array.type is Type.SPIKE
    if not isinstance(operand, Value):
        return False
    if operand.type is Type.SPIKE:
        return True
    found = [_is_sparse(inner) for inner in operand.operands]
    return any(found) if operand.op == "mul" else all(found) if operand.op in ("copy", "neg", "add", "sub") else False


def _is_repeated(value: Value) -> bool:
    """Whether a value is larger than what it is computed from: an outer product, or what contains one."""
    return any(
        view.array.size > 1 and any(n > 1 and s == 0 for n, s in zip(view.shape, view.strides, strict=True))
        for view in views_in(value)
    )


def _squeezed(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def _flattened(values: Sequence[Any]) -> list[Any]:
    return [inner for value in values for inner in (_flattened(value) if isinstance(value, list) else [value])]


def _per_axis(sizes: Any, axes: int) -> tuple[int, ...]:
    found = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    return tuple(found * axes if len(found) == 1 else found)


def _type_of(operand: Operand) -> Type:
    match operand:
        case View():
            kind = operand.array.type
        case Indirect():
            kind = operand.view.array.type
        case _:
            return Type.FLOAT
    return Type.INT32 if kind in (Type.INT8, Type.INT16) else kind
