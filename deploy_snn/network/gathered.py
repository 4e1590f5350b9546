"""Connections with few sources for each target: local receptive fields and sparse weights, as a gather and a sum."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from deploy_snn.network.connection import Connection, weights
from deploy_snn.network.convolution import Sizes, per_axis


class Gathered(Connection):
    """Each target sums over its own list of sources: ``drive[j] = sum_k z[sources[j, k]] * fan_in[j, k]``."""

    rounding: ClassVar[str] = "a sum over the sources of a target"

    sources: Tensor
    fan_in: Tensor

    def wire(self, sources: Tensor, fan_in: Tensor) -> None:
        """Keep the lists: both ``[M, K]``, the sources as flat indices."""
        self.register_buffer("sources", sources)
        self.register_buffer("fan_in", fan_in)

    def transmit(self, z: Tensor) -> Tensor:
        gathered = self.flat(z).index_select(1, self.sources.flatten())
        return self.shaped((gathered.reshape([-1] + list(self.fan_in.shape)) * self.fan_in).sum(2))

    def largest_sums(self) -> Tensor | None:
        return self.fan_in.double().abs().sum(1)


class Sparse(Gathered):
    """Few weights that are not 0: ``drive = z @ w``.

    Args:
        w: weights ``[N, M]``, a sparse or a dense tensor, source by target, in mV.
    """

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        dense = weights("w", w.to_dense() if isinstance(w, Tensor) else w)
        self.size = list(dense.shape)
        if dense.dim() == 2:
            most = int((dense != 0).sum(0).max().clamp(min=1)) if dense.numel() else 1
            # For each target its sources first; those of weight 0 pad the list.
            order = (dense == 0).to(torch.int8).argsort(dim=0, stable=True)[:most]
            self.wire(order.T.contiguous(), dense.gather(0, order).T.contiguous())

    def misfit(self) -> str:
        expected = [math.prod(self.source_shape), math.prod(self.target_shape)]
        return "" if self.size == expected else f"w is {self.size}, expected {expected}"


class Local(Gathered):
    """What the local connections share: a convolution whose weights differ from place to place.

    Args:
        w: weights ``[C_in, filters * places, kernel]`` as in BindsNET, places and kernel in row-major order, in mV.
        kernel_size, stride: one number, or one for each axis.
    """

    axes: ClassVar[int]

    w: Tensor

    def __init__(self, w: Tensor, kernel_size: Sizes, stride: Sizes = 1) -> None:
        super().__init__()
        self.weights = weights("w", w)
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = per_axis("stride", stride, self.axes)

    def misfit(self) -> str:
        if len(self.source_shape) != self.axes + 1:
            return f"the source needs a shape of channels and {self.axes} sizes"
        channels, *sizes = self.source_shape
        if any(size < kernel for size, kernel in zip(sizes, self.kernel_size, strict=True)):
            return f"the kernel {self.kernel_size} is larger than the source"
        places = [(n - k) // s + 1 for n, k, s in zip(sizes, self.kernel_size, self.stride, strict=True)]
        filters, rest = divmod(math.prod(self.target_shape), math.prod(places))
        if rest or (len(self.target_shape) > 1 and list(self.target_shape[1:]) != places):
            return f"the target's shape must be the number of filters and {places}"
        expected = [channels, filters * math.prod(places), math.prod(self.kernel_size)]
        if list(self.weights.shape) != expected:
            return f"w is {list(self.weights.shape)}, expected {expected}"
        fields = self._fields(self.source_shape)  # [places, C_in * kernel]
        self.wire(fields.repeat(filters, 1), self.weights.permute(1, 0, 2).flatten(1).contiguous())
        del self.weights  # the file need not hold them twice
        return ""

    def _fields(self, shape: Sequence[int]) -> Tensor:
        """The flat source indices of each place's receptive field."""
        index = torch.arange(math.prod(shape)).reshape(*shape)
        for axis, (size, stride) in enumerate(zip(self.kernel_size, self.stride, strict=True)):
            index = index.unfold(axis + 1, size, stride)  # [C, *places, *kernel], one axis at a time
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
