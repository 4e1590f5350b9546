"""Convolutions, in one to three dimensions."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.learning import Rule
from deploy_snn.learning.synapses import ConvolutionSynapses, Synapses
from deploy_snn.network.connection import Exactness, PlasticConnection, weights

Sizes = int | Sequence[int]


def per_axis(name: str, value: Sizes, axes: int, *, least: int = 1) -> list[int]:
    """Return one size for each axis, from one number or one for each axis.

    Raises InvalidInput for another count, and for a size that is not an integer or smaller than ``least``.
    """
    sizes = list(value) if isinstance(value, Sequence) else [value] * axes
    if len(sizes) != axes or not all(isinstance(size, int) and size >= least for size in sizes):
        raise InvalidInput(f"{name}={value!r}: expected one integer or {axes} integers, at least {least}")
    return sizes


class Conv(PlasticConnection):
    """The base class of the convolutions: ``drive = conv(z, w) + b``; see torch.nn.functional.conv2d.

    Args:
        w: filters ``[C_out, C_in / groups, *kernel]``, in mV. b: bias ``[C_out]``, in mV, or None.
        stride, padding, dilation: one number, or one for each axis.
        groups: number of channel groups. The filters of a group read only the source channels of that group.
        rule: the learning rule that changes ``w``, or None. It needs ``groups=1``.
    """

    AXES: ClassVar[tuple[str, ...]] = ("filter", "channel")
    axes: ClassVar[int]

    w: Tensor
    b: Tensor | None

    def __init__(
        self,
        w: Tensor,
        b: Tensor | None = None,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        rule: Rule | None = None,
    ) -> None:
        super().__init__(rule)
        self.register_buffer("w", weights("w", w))
        self.register_buffer("b", None if b is None else weights("b", b))
        self.stride = per_axis("stride", stride, self.axes)
        self.padding = per_axis("padding", padding, self.axes, least=0)
        self.dilation = per_axis("dilation", dilation, self.axes)
        (self.groups,) = per_axis("groups", groups, 1)
        if rule is not None and groups != 1:
            raise InvalidInput(f"{type(self).__name__}(groups={groups}): a convolution with groups cannot learn")

    @classmethod
    def from_conv(cls, conv: nn.Module) -> Self:
        """The connection of a trained ``torch.nn.Conv1d``, ``Conv2d`` or ``Conv3d``, bias included.

        Raises InvalidInput for another module, another number of axes, and any padding mode but zeros.
        """
        layer = getattr(nn, cls.__name__)
        if not isinstance(conv, layer):
            raise InvalidInput(f"{cls.__name__}.from_conv({type(conv).__name__}): expected a torch.nn.{cls.__name__}")
        if conv.padding_mode != "zeros":
            raise InvalidInput(f"{cls.__name__}.from_conv: padding_mode={conv.padding_mode!r}; only 'zeros' is supported")
        return cls(
            conv.weight.detach(),
            None if conv.bias is None else conv.bias.detach(),
            stride=conv.stride,
            padding=_padding_of(conv),
            dilation=conv.dilation,
            groups=conv.groups,
        )

    def shape_error(self) -> str:
        if self.w.dim() != self.axes + 2:
            return f"w is {list(self.w.shape)}, expected [C_out, C_in / groups] and {self.axes} kernel sizes"
        if len(self.source_shape) != self.axes + 1:
            return f"the shape of the source must be channels and {self.axes} sizes"
        channels = self.w.shape[1] * self.groups
        if self.source_shape[0] != channels:
            return f"the source has {self.source_shape[0]} channels; w {list(self.w.shape)} needs {channels}"
        try:
            output_shape = list(self.transmit(torch.zeros(1, *self.source_shape)).shape[1:])
        except RuntimeError as error:
            return first_line(error)
        return "" if output_shape == list(self.target_shape) else f"the convolution outputs {output_shape}"

    def synapses(self) -> Synapses:
        return ConvolutionSynapses(list(self.w.shape), self.source_shape, self.stride, self.padding, self.dilation)

    def initial_weights(self) -> Tensor:
        return self.w

    def summed_weights(self) -> list[Tensor]:
        return [self.w] if self.b is None else [self.w, self.b]

    def largest_sums(self) -> Tensor | None:
        bias = torch.zeros(()) if self.b is None else self.b.double().abs()
        return self.w.double().abs().flatten(1).sum(1) + bias


def _padding_of(conv: Any) -> list[int]:
    """The padding of a torch convolution, one number for each axis."""
    if conv.padding == "valid":
        return [0] * len(conv.kernel_size)
    if conv.padding != "same":
        return list(conv.padding)
    total = [dilation * (size - 1) for size, dilation in zip(conv.kernel_size, conv.dilation, strict=True)]
    if any(n % 2 for n in total):
        raise InvalidInput(
            f"from_conv: padding='same' with the kernel {list(conv.kernel_size)} pads the two sides differently, "
            "which is not supported"
        )
    return [n // 2 for n in total]


class Conv1d(Conv):
    """A convolution over ``[C, L]``. Arguments: those of :class:`Conv`."""

    EXACT: ClassVar[Exactness] = "sums"
    axes: ClassVar[int] = 1

    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        return functional.conv1d(z, w, self.b, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(Conv):
    """A convolution over ``[C, H, W]``. Arguments: those of :class:`Conv`."""

    EXACT: ClassVar[Exactness] = "sums"
    axes: ClassVar[int] = 2

    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(z, w, self.b, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(Conv):
    """A convolution over ``[C, D, H, W]``. Arguments: those of :class:`Conv`."""

    EXACT: ClassVar[Exactness] = "sums"
    axes: ClassVar[int] = 3

    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        b = self.b
        if b is None:
            # onnxscript 0.7 writes a convolution over three axes without a bias with one of the wrong shape.
            b = torch.zeros(self.w.shape[0], device=self.w.device)
        return functional.conv3d(z, w, b, self.stride, self.padding, self.dilation, self.groups)
