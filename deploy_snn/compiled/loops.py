"""The typed loop representation between a captured graph and C: arrays, elementwise values, and kernels.

A step of one row is a list of items in the order of their dependencies. A :class:`Value` is one elementwise operation;
values of the same stage become one loop. A kernel is an operation with a loop nest of its own, such as a product.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Type(StrEnum):
    """The element type of an array, as its C name. Spikes are 0 or 1."""

    FLOAT = "float"
    SPIKE = "uint8_t"
    INT8 = "int8_t"
    INT16 = "int16_t"
    INT32 = "int32_t"


NUMPY: dict[Type, Any] = {
    Type.FLOAT: np.float32,
    Type.SPIKE: np.uint8,
    Type.INT8: np.int8,
    Type.INT16: np.int16,
    Type.INT32: np.int32,
}


class Storage(StrEnum):
    """Where an array lives."""

    INPUT = "input"
    OUTPUT = "output"
    STATE = "state"
    CONSTANT = "constant"
    WORK = "work"
    """Scratch memory of one step, beside the state. An array of one element is a local variable instead."""


@dataclass(eq=False)
class Array:
    """A flat array. ``name`` is its C identifier, ``tensor`` its name in the contract, ``values`` those of a constant."""

    name: str
    type: Type
    size: int
    storage: Storage
    tensor: str = ""
    values: NDArray[Any] | None = None
    shared: bool = False
    """Whether all rows of a batch share it: a state without a batch axis, or scratch memory that is read after the rows."""
    external: bool = False
    """Whether a constant is in the weights file instead of the C source."""
    sparse: bool = False
    """Whether most elements are 0 in most steps: spikes, and what is multiplied by them."""


@dataclass(frozen=True, eq=False)
class View:
    """Elements of an array in another shape: element ``i`` is at ``offset + sum(i[k] * strides[k])``."""

    array: Array
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def of(cls, array: Array, shape: Sequence[int]) -> Self:
        """The whole array in row-major order."""
        return cls(array, tuple(shape), contiguous(shape))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_flat(self) -> bool:
        """Whether the elements follow each other in memory, in row-major order."""
        expected = contiguous(self.shape)
        return all(n == 1 or a == b for n, a, b in zip(self.shape, self.strides, expected, strict=True))

    @property
    def is_whole(self) -> bool:
        return self.is_flat and self.offset == 0 and self.size == self.array.size

    def replaced(self, shape: Sequence[int], strides: Sequence[int], offset: int | None = None) -> "View":
        return View(self.array, tuple(shape), tuple(strides), self.offset if offset is None else offset)

    def reshaped(self, shape: Sequence[int]) -> "View | None":
        """The view in another shape; None if that needs a copy."""
        if self.is_flat:
            return self.replaced(shape, contiguous(shape))
        pairs = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        if [n for n, _ in pairs] == [n for n in shape if n != 1]:  # only axes of one element come or go
            rest = iter(pairs)
            return self.replaced(shape, [0 if n == 1 else next(rest)[1] for n in shape])
        return None

    def broadcast(self, shape: Sequence[int]) -> "View":
        """The view with the strides of a larger shape: 0 along the axes that it repeats."""
        missing = len(shape) - len(self.shape)
        own = [0] * missing + [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return self.replaced(shape, own)

    def permuted(self, axes: Sequence[int]) -> "View":
        return self.replaced([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def narrowed(self, axis: int, start: int, length: int) -> "View":
        shape = [length if a == axis else n for a, n in enumerate(self.shape)]
        return self.replaced(shape, self.strides, self.offset + start * self.strides[axis])

    def without(self, axis: int) -> "View":
        """The view without one axis, at its first element."""
        keep = [a for a in range(len(self.shape)) if a != axis]
        return self.replaced([self.shape[a] for a in keep], [self.strides[a] for a in keep])


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a row-major array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class Literal:
    """A number that the equations contain, such as 0.0."""

    value: float | int


@dataclass(frozen=True, eq=False)
class Position:
    """The index of an element itself: ``offset + sum(i[k] * strides[k])``."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Indirect:
    """The element of a view that an index array selects: ``view[i] + stride * index[i]``."""

    view: View
    stride: int
    index: View


@dataclass(eq=False)
class Value:
    """One elementwise operation. ``operands`` have its shape; a value among them has as many elements, in that order."""

    op: str
    operands: "list[Operand]"
    shape: tuple[int, ...]
    type: Type
    owner: str = ""
    name: str = ""
    stores: list[View] = field(default_factory=list)
    """Where its elements are written to: outputs, next states, scratch memory."""
    stage: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)


Operand = View | Literal | Position | Indirect | Value


@dataclass(eq=False)
class Kernel:
    """The base class of operations with a loop nest of their own."""

    out: Array
    owner: str
    stage: int = field(default=0, kw_only=True)

    def reads(self) -> list[View]:
        """The views that it reads; the constants may be left out."""
        raise NotImplementedError


@dataclass(eq=False)
class Product(Kernel):
    """``out[j] = sum_i z[i] * w[i, j]``, over the ``i`` whose ``z`` is not 0. ``w`` is a view ``[K, N]`` or a value."""

    z: View
    w: Operand
    columns: int
    scale: float = 1.0
    """The factor on the integer sums, if ``w`` holds integers."""

    def reads(self) -> list[View]:
        return [self.z, *views_in(self.w)]


@dataclass(eq=False)
class SparseProduct(Kernel):
    """``out[target[k]] += z[i] * weight[k]`` for ``k`` from ``first[i]`` to ``first[i + 1]``, where ``z[i]`` is not 0."""

    z: View
    first: Array
    target: Array
    weight: Array
    scale: float = 1.0

    def reads(self) -> list[View]:
        return [self.z]


@dataclass(eq=False)
class Convolution(Kernel):
    """A convolution: each input that is not 0 adds its filters to the outputs around it.

    ``z`` is ``[C, *sizes]`` and ``out`` ``[O, *places]``. ``w`` ``[C, *kernel, O / groups]`` holds the filters with the
    output channels last, or is one number for all. Learnt filters are ``[O, C, *kernel]``, as the state has them.
    """

    z: View
    w: Array
    b: Array | None
    channels: int
    sizes: tuple[int, ...]
    filters: int
    places: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    scale: float = 1.0

    def reads(self) -> list[View]:
        return [self.z]


@dataclass(eq=False)
class MatrixProduct(Kernel):
    """``out[o, k] = sum_p z[o, p] * w[p, k]``, over the ``p`` where ``z[o, p]`` is not 0."""

    z: View
    w: Operand

    def reads(self) -> list[View]:
        return [self.z, *views_in(self.w)]


@dataclass(eq=False)
class Sum(Kernel):
    """The sum over the last axis of ``z`` ``[M, K]``."""

    z: View

    def reads(self) -> list[View]:
        return [self.z]


@dataclass(eq=False)
class ColumnSum(Kernel):
    """``out[j] = sum_i z[i, j]`` over the first axis of an elementwise value ``[N, M]``, in the order of ``i``."""

    z: Operand

    def reads(self) -> list[View]:
        return views_in(self.z)


@dataclass(eq=False)
class ArgMax(Kernel):
    """The index of the largest element over the last axis of ``z`` ``[M, K]``; the first of equal ones.

    Where ``mask`` is given, all elements are equal unless one of it is set, and most steps need no search.
    """

    z: View
    mask: View | None = None

    def reads(self) -> list[View]:
        return [self.z] if self.mask is None else [self.z, self.mask]


@dataclass(eq=False)
class MaxIndex(Kernel):
    """Max pooling: the index, within its channel, of the largest element of each field; the first of equal ones."""

    z: View
    channels: int
    sizes: tuple[int, ...]
    places: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def reads(self) -> list[View]:
        return [self.z]


Item = Value | Kernel

ROWS = "rows"
"""The operation of a value that adds up the rows of a batch. Its operand is a view, or a value of each row."""


@dataclass(eq=False)
class LoopProgram:
    """A step of one row. ``shared`` are the values that update what all rows of a batch share, after the rows."""

    inputs: list[Array]
    outputs: list[Array]
    states: list[Array]
    constants: list[Array]
    work: list[Array]
    items: list[Item]
    shared: list[Value]
    recorded: list[tuple[Array, Array]]
    """Outputs that are the next value of a state which rows share, and that state."""


def views_in(operand: Operand) -> list[View]:
    """The views that an operand reads directly, or through the values that it contains."""
    match operand:
        case View():
            return [operand]
        case Indirect():
            return [operand.view, operand.index]
        case Value():
            return [view for inner in operand.operands for view in views_in(inner)]
    return []
