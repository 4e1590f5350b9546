"""Local receptive fields: convolutions without weight sharing."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from deploy_snn.learning import Rule
from deploy_snn.network.connection import Exactness, weights
from deploy_snn.network.convolution import Sizes, per_axis
from deploy_snn.network.sparse import Gathered


class Local(Gathered):
    """The base class of the local connections: a convolution with different weights at each output position.

    Args:
        w: weights ``[C_in, filters * positions, kernel]`` as in BindsNET, in mV. Positions and kernel are in row-major
        order. kernel_size, stride: one number, or one for each axis.
        rule: the learning rule that changes the weights, or None.
    """

    EXACT: ClassVar[Exactness] = "sums"
    axes: ClassVar[int]

    w: Tensor

    def __init__(self, w: Tensor, kernel_size: Sizes, stride: Sizes = 1, rule: Rule | None = None) -> None:
        super().__init__(rule)
        self.weights = weights("w", w)
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = per_axis("stride", stride, self.axes)

    def structure_options(self) -> dict[str, Any]:
        return {"kernel_size": self.kernel_size, "stride": self.stride}

    @classmethod
    def from_structure(cls, options: dict[str, Any], buffers: dict[str, Tensor]) -> Self:
        fan_in, kernel = buffers["fan_in"], math.prod(options["kernel_size"])
        return cls(
            fan_in.reshape(len(fan_in), -1, kernel).permute(1, 0, 2),
            options["kernel_size"],
            options["stride"],
            options.get("rule"),
        )

    def filters(self) -> Tensor:
        """The weights in the constructor's layout, ``[C_in, filters * positions, kernel]``."""
        return self.fan_in.reshape(self.n_target, self.source_shape[0], -1).permute(1, 0, 2)

    def shape_error(self) -> str:
        if len(self.source_shape) != self.axes + 1:
            return f"the shape of the source must be channels and {self.axes} sizes"
        channels, *sizes = self.source_shape
        if any(size < kernel for size, kernel in zip(sizes, self.kernel_size, strict=True)):
            return f"the kernel {self.kernel_size} is larger than the source"
        positions = [(n - k) // s + 1 for n, k, s in zip(sizes, self.kernel_size, self.stride, strict=True)]
        filters, rest = divmod(math.prod(self.target_shape), math.prod(positions))
        if rest or (len(self.target_shape) > 1 and list(self.target_shape[1:]) != positions):
            return f"the shape of the target must be the number of filters and {positions}"
        expected = [channels, filters * math.prod(positions), math.prod(self.kernel_size)]
        if list(self.weights.shape) != expected:
            return f"w is {list(self.weights.shape)}, expected {expected}"
        fields = self._fields(self.source_shape)  # [positions, C_in * kernel]
        self.wire(fields.repeat(filters, 1), self.weights.permute(1, 0, 2).flatten(1).contiguous())
        del self.weights  # fan_in holds them now
        return ""

    def _fields(self, shape: Sequence[int]) -> Tensor:
        """The flat source indices of the receptive field at each output position."""
        index = torch.arange(math.prod(shape)).reshape(*shape)
        for axis, (size, stride) in enumerate(zip(self.kernel_size, self.stride, strict=True)):
            index = index.unfold(axis + 1, size, stride)  # [C, *positions, *kernel], one axis at a time
        return index.flatten(1, self.axes).flatten(2).permute(1, 0, 2).flatten(1).contiguous()


class LocalConnection1d(Local):
    """Local receptive fields over ``[C, L]``. Arguments: those of :class:`Local`."""

    axes: ClassVar[int] = 1


class LocalConnection2d(Local):
    """Local receptive fields over ``[C, H, W]``. Arguments: those of :class:`Local`."""

    axes: ClassVar[int] = 2


class LocalConnection3d(Local):
    """Local receptive fields over ``[C, D, H, W]``. Arguments: those of :class:`Local`."""

    axes: ClassVar[int] = 3
