"""How C names numbers, arrays and their elements."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_snn.compiled.loops import Array, Position, Storage, Type, View, contiguous
from deploy_snn.compiled.schedule import loop_strides


def number(value: float, kind: Type = Type.FLOAT) -> str:
    """A number as a C constant with exactly its bits."""
    if kind is not Type.FLOAT:
        return str(int(value))
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.float32(value))
    return f"{text if set(text) & set('.e') else text + '.0'}f"


def array_text(declaration: str, kind: Type, values: NDArray[Any]) -> Iterator[str]:
    """An array of constants, with its values."""
    if not np.isfinite(values).all() or values.size <= 8:
        yield f"{declaration} = {{{', '.join(number(v.item(), kind) for v in values)}}};"
        return
    yield f"{declaration} = {{"
    texts = [number(v.item(), kind) for v in values]
    width = 8 if kind is Type.FLOAT else 24
    for start in range(0, len(texts), width):
        yield f"    {', '.join(texts[start : start + width])},"
    yield "};"


def place(array: Array) -> str:
    """How the step refers to an array."""
    match array.storage:
        case Storage.STATE:
            return f"state->{array.name}"
        case Storage.WORK:
            return array.name if array.size == 1 and not array.shared else f"state->work.{array.name}"
    return f"weights->{array.name}" if array.external else array.name


def is_scalar(array: Array) -> bool:
    """Whether an array of one element is a plain variable or constant."""
    return array.size == 1 and (array.storage is Storage.CONSTANT or (array.storage is Storage.WORK and not array.shared))


def index_text(access: View | Position, extents: tuple[int, ...]) -> str:
    """The index of an access in terms of the loops' variables."""
    offset = access.offset
    names = ["i"] if len(extents) == 1 else [f"i{axis}" for axis in range(len(extents))]
    strides = loop_strides(access, extents)
    if strides is None:  # uneven: from the row-major index
        flat = " + ".join(f"{n} * {s}" if s != 1 else n for n, s in zip(names, contiguous(extents), strict=True))
        terms = [
            f"({flat}) / {block} % {size}" + (f" * {stride}" if stride != 1 else "")
            for size, stride, block in zip(access.shape, access.strides, contiguous(access.shape), strict=True)
            if size != 1 and stride != 0
        ]
    else:
        terms = [name if s == 1 else f"{name} * {s}" for name, s in zip(names, strides, strict=True) if s]
    return " + ".join([*terms, *([str(offset)] if offset or not terms else [])])


def flat_element(view: View, index: str) -> str:
    """An element of a flat view at a row-major index."""
    name = place(view.array)
    if view.array.size == 1:
        return name if is_scalar(view.array) else f"{name}[0]"
    return f"{name}[{f'{view.offset} + ' if view.offset else ''}{index}]"


def pointer_to(array: Array) -> str:
    """A pointer to an array's first element."""
    return f"&{place(array)}" if is_scalar(array) else place(array)


def pointer_to_view(view: View) -> str:
    """A pointer to a view's first element."""
    return f"{pointer_to(view.array)}{f' + {view.offset}' if view.offset else ''}"


def first_element(array: Array) -> str:
    """The first element of an array of one element."""
    return place(array) if is_scalar(array) else f"{place(array)}[0]"
