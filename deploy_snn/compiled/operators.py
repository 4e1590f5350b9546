"""The operators of captured graphs: one method for each kind, from values to values."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from deploy_snn.compiled.integers import integer_weights
from deploy_snn.compiled.linear import LinearForm
from deploy_snn.compiled.loops import (
    ROWS,
    ArgMax,
    Array,
    ColumnSum,
    Convolution,
    Indirect,
    Literal,
    MatrixProduct,
    MaxIndex,
    Operand,
    Product,
    Storage,
    Sum,
    Type,
    Value,
    View,
    views_in,
)
from deploy_snn.compiled.traced import Computed, Constant, TracedValues, row_size, squeezed

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


class Operators(TracedValues):
    """Translates the operators of a graph."""

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
        if form is None or weights is None or squeezed(form.shape) != squeezed(shape):
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

    def _op_masked_fill(self, node: Node, x: Any, mask: Any, number: float) -> Computed:
        shape = self._shape(node)
        operands = [self._operand(part, shape) for part in (mask, number, x)]
        return Computed(self._value("where", operands, shape, self._type(node.meta["val"].dtype)), shape)

    def _op_copy(self, node: Node, _old: Any, new: Any, *_: Any) -> Any:
        return self._reshaped(new, self._shape(node))

    # Products, sums and selections.

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
        shape = tuple(row_size(size) for size in node.meta["val"][1].shape)
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


def _is_repeated(value: Value) -> bool:
    """Whether a value is larger than what it is computed from: an outer product, or what contains one."""
    return any(
        view.array.size > 1 and any(n > 1 and s == 0 for n, s in zip(view.shape, view.strides, strict=True))
        for view in views_in(value)
    )


def _flattened(values: Sequence[Any]) -> list[Any]:
    return [inner for value in values for inner in (_flattened(value) if isinstance(value, list) else [value])]


def _per_axis(sizes: Any, axes: int) -> tuple[int, ...]:
    found = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    return tuple(found * axes if len(found) == 1 else found)
