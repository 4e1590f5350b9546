"""The values of a captured step while it is translated: constants, views of arrays, elementwise values and linear forms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from deploy_snn.compiled.integers import integer_weights
from deploy_snn.compiled.linear import LinearForm
from deploy_snn.compiled.loops import (
    NUMPY,
    Array,
    Indirect,
    Item,
    Kernel,
    Literal,
    Operand,
    Position,
    SparseProduct,
    Storage,
    Type,
    Value,
    View,
)
from deploy_snn.compiled.names import Namespace
from deploy_snn.compiled.refusal import Refusal
from deploy_snn.contract import TensorSpec
from deploy_snn.lowering import Lowered

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


class TracedValues:
    """The arrays, the elementwise values and the kernels of a step, as far as it has been translated."""

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

    # Operands.

    def _shape(self, node: Node) -> tuple[int, ...]:
        return tuple(row_size(size) for size in node.meta["val"].shape)

    def _operand(self, traced: Any, shape: tuple[int, ...]) -> Operand:  # noqa: PLR0911  (one return for each kind)
        """A tensor as an operand of an elementwise operation with this shape."""
        if isinstance(traced, bool | int | float):
            return Literal(traced)
        if isinstance(traced, Constant):
            return self._constant_operand(traced, shape)
        if isinstance(traced, Computed):
            if squeezed(traced.shape) == squeezed(shape):
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
        kind = operand.type if isinstance(operand, Value) else type_of(operand)
        return self._value("copy", [operand], shape, kind)

    def _value(self, op: str, operands: list[Operand], shape: tuple[int, ...], kind: Type) -> Value:
        value = Value(op, operands, shape, kind, self._owner_of_operands(operands))
        self.items.append(value)
        return value

    def _kernel(self, kernel: Kernel) -> None:
        self.items.append(kernel)

    def _type(self, dtype: torch.dtype) -> Type:
        if dtype not in DTYPES:
            raise self._refusal(f"a tensor of {str(dtype).removeprefix('torch.')}")
        return DTYPES[dtype]

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

    def _spikes_only(self, view: View) -> bool:
        return view.array.type is Type.SPIKE

    def _check_finite(self, w: Tensor, owner: str) -> None:
        """A product skips inputs that are 0, but 0 times an infinity is not 0."""
        if not bool(w.isfinite().all()):
            raise Refusal(f"format c cannot compile {owner or 'the product'}: its weights hold NaN or an infinity")

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


def row_size(size: Any) -> int:
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


def squeezed(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def type_of(operand: Operand) -> Type:
    match operand:
        case View():
            kind = operand.array.type
        case Indirect():
            kind = operand.view.array.type
        case _:
            return Type.FLOAT
    return Type.INT32 if kind in (Type.INT8, Type.INT16) else kind
