"""Import of NIR's linear nodes as connections."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.neurons import Shape
from deploy_snn.network import AvgPool2d, Connection, Conv1d, Conv2d, Dense, OneToOne, Reshape, SumPool2d

if TYPE_CHECKING:
    from nir import NIRNode

Link = tuple[Connection, Shape]
"""A connection, and the shape of what it gives."""


def link_of(node: "NIRNode", source: Shape) -> Link:
    """The connection for a linear node with this input shape. Raises InvalidInput, without naming the node."""
    return LINKS[type(node).__name__](node, source)


AXES = {"Affine": 1, "Linear": 1, "Conv1d": 2, "Conv2d": 3, "SumPool2d": 3, "AvgPool2d": 3}
"""The number of axes of a node's input, for node types where it is fixed."""


def _dense(node: Any, source: Shape) -> Link:
    weight = np.asarray(node.weight)
    if weight.ndim != 2:
        raise InvalidInput(f"its weight is {list(weight.shape)}, and only [outputs, inputs] can be read")
    outputs, inputs = weight.shape
    if math.prod(source) != inputs:
        raise InvalidInput(f"its weight takes {inputs} values, and what reaches it is {list(source)}")
    return Dense(_floats(weight.T), _bias(getattr(node, "bias", None), outputs)), (outputs,)


def _scale(node: Any, source: Shape) -> Link:
    scale = np.asarray(node.scale)
    try:
        np.broadcast_to(scale, source)
    except ValueError:
        raise InvalidInput(f"its scale is {list(scale.shape)}, and what reaches it is {list(source)}") from None
    return OneToOne(_floats(scale)), source


def _conv(node: Any, source: Shape, axes: int) -> Link:
    weight = np.asarray(node.weight)
    if weight.ndim != axes + 2 or len(source) != axes + 1:
        raise InvalidInput(f"its weight is {list(weight.shape)}, and what reaches it is {list(source)}")
    kernel, stride, dilation = list(weight.shape[2:]), _sizes(node.stride, axes), _sizes(node.dilation, axes)
    padding = _padding(node.padding, kernel, stride, dilation)
    cls: type[Conv1d | Conv2d] = Conv1d if axes == 1 else Conv2d
    connection = cls(
        _floats(weight),
        _bias(node.bias, len(weight)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=int(node.groups),
    )
    return connection, (len(weight), *_convolved(source[1:], kernel, stride, padding, dilation))


def _pool(node: Any, source: Shape, cls: type[SumPool2d]) -> Link:
    if len(source) != 3:
        raise InvalidInput(f"it pools [channels, height, width], and what reaches it is {list(source)}")
    kernel, stride, padding = (_sizes(value, 2) for value in (node.kernel_size, node.stride, node.padding))
    return cls(kernel, stride, padding), (source[0], *_convolved(source[1:], kernel, stride, padding, [1, 1]))


def _flatten(node: Any, source: Shape) -> Link:
    start, end = (int(dim) + len(source) * (dim < 0) for dim in (node.start_dim, node.end_dim))
    if not 0 <= start <= end < len(source):
        raise InvalidInput(f"it flattens axes {node.start_dim} to {node.end_dim}, and what reaches it is {list(source)}")
    return Reshape(), (*source[:start], math.prod(source[start : end + 1]), *source[end + 1 :])


def _convolved(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    axes = zip(sizes, kernel, stride, padding, dilation, strict=True)
    sizes_after = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
    if min(sizes_after) < 1:
        raise InvalidInput(f"its field of {list(kernel)} is larger than what reaches it, {list(sizes)}")
    return sizes_after


def _sizes(value: Any, axes: int) -> list[int]:
    found = np.asarray(value).reshape(-1)
    if found.dtype.kind not in "iu" or len(found) not in (1, axes):
        raise InvalidInput(f"expected one whole number or {axes}, and not {value}")
    return [int(size) for size in np.broadcast_to(found, axes)]


def _padding(value: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    if not isinstance(value, str):
        return _sizes(value, len(kernel))
    if value == "valid":
        return [0] * len(kernel)
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(n % 2 for n in total) or any(s != 1 for s in stride):
        raise InvalidInput(
            f"padding 'same' of a kernel {list(kernel)} with stride {list(stride)} is not the same on all sides"
        )
    return [n // 2 for n in total]


def _bias(value: Any, outputs: int) -> Tensor | None:
    """The bias; None if it is 0, which is how some writers express that there is none."""
    if value is None or not np.any(value):
        return None
    if np.shape(value) != (outputs,):
        raise InvalidInput(f"its bias is {list(np.shape(value))}, expected [{outputs}]")
    return _floats(np.asarray(value))


def _floats(value: Any) -> Tensor:
    try:
        with np.errstate(over="ignore"):  # an infinity is refused like one that was in the file
            return torch.from_numpy(np.ascontiguousarray(value, np.float32))
    except (TypeError, ValueError):
        raise InvalidInput("it contains values other than numbers") from None


LINKS: dict[str, Callable[[Any, Shape], Link]] = {
    "Affine": _dense,
    "Linear": _dense,
    "Scale": _scale,
    "Conv1d": lambda node, source: _conv(node, source, 1),
    "Conv2d": lambda node, source: _conv(node, source, 2),
    "SumPool2d": lambda node, source: _pool(node, source, SumPool2d),
    "AvgPool2d": lambda node, source: _pool(node, source, AvgPool2d),
    "Flatten": _flatten,
}
