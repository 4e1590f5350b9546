"""Spiking max pooling in one to three dimensions: the source neuron with the highest recent rate is passed on."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deploy_snn.contract import Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.network.connection import Connection, Exactness, weights
from deploy_snn.network.convolution import Sizes, per_axis

RATES = TensorSpec(name="rates", role=Role.STATE, kind=Kind.TRACE, initial="0")


class MaxPool(Connection):
    """The base class of spiking max pooling: in each field, the source neuron with the largest rate is passed on.

    Each step first updates ``rates = rates - decay * rates + z``. Of equal rates the first one wins (Rueckauer et al. 2017,
    doi:10.3389/fnins.2017.00682). State: ``rates`` ``[B, *source]``, initially 0.

    The elements of a field become an axis, and argmax finds the winner: many runtimes have no max pooling that returns
    indices, or return wrong ones.

    Args:
        kernel_size, stride, padding, dilation: one number, or one for each axis. The default stride is the kernel size.
        decay: the fraction of its rate that a source neuron loses in each step.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = (RATES,)
    axes: ClassVar[int]
    pool: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """torch's max pooling, which checks the arguments and defines the shape of the output."""

    decay: Tensor
    positions: Tensor

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, self.axes)
        self.padding = per_axis("padding", padding, self.axes, least=0)
        self.dilation = per_axis("dilation", dilation, self.axes)
        self.register_buffer("decay", weights("decay", decay))
        # Derived from the shapes, and so no parameter of the model.
        self.register_buffer("positions", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.is_tiled = self.stride == self.kernel_size and not any(self.padding) and {*self.dilation} == {1}
        self.field_size = math.prod(self.kernel_size)
        self.used = [0] * self.axes
        self.tiles = [0] * 2 * self.axes
        self.fields_first = [0] * 2 * self.axes
        if self.decay.dim() or not 0 <= self.decay <= 1:
            raise InvalidInput(f"decay={decay}: expected a fraction between 0 and 1")

    def shape_error(self) -> str:
        if len(self.source_shape) != self.axes + 1:
            return f"the shape of the source must be channels and {self.axes} sizes"
        source = torch.zeros(1, *self.source_shape)
        try:
            pooled, _ = type(self).pool(source, self.kernel_size, self.stride, self.padding, self.dilation)
        except RuntimeError as error:
            return first_line(error)
        output_shape = list(pooled.shape[1:])
        if output_shape != list(self.target_shape):
            return f"the pooling outputs {output_shape}"
        return self._find_fields(output_shape[1:])

    def _find_fields(self, output: list[int]) -> str:
        """Prepare ``fields``: an order of axes for fields that tile the source, positions of elements for others.

        Returns what is wrong with the fields, or "".
        """
        axes = range(self.axes)
        # [n1, k1, n2, k2, ...] to [n1, n2, ..., k1, k2, ...]
        fields_first = [*(2 * axis for axis in axes), *(2 * axis + 1 for axis in axes)]
        if self.is_tiled:
            self.used = [n * k for n, k in zip(output, self.kernel_size, strict=True)]
            self.tiles = [size for pair in zip(output, self.kernel_size, strict=True) for size in pair]
            self.fields_first = [0, 1, *(2 + axis for axis in fields_first)]
            return ""
        positions, inside = torch.zeros([1] * 2 * self.axes, dtype=torch.int64), torch.tensor(data=True)
        for axis, size in enumerate(self.source_shape[1:]):
            places = torch.arange(output[axis])[:, None] * self.stride[axis] - self.padding[axis]
            along = places + torch.arange(self.kernel_size[axis]) * self.dilation[axis]
            along = along.reshape([1, 1] * axis + list(along.shape) + [1, 1] * (self.axes - 1 - axis))
            positions = positions * size + along
            inside = inside & (along >= 0) & (along < size)
        positions, inside = (t.permute(fields_first).reshape(-1, self.field_size) for t in (positions, inside))
        if not inside.any(1).all():
            return "a field lies in the padding"
        # The first element of a field stands in for its padding: as the later of two equals, it changes no winner.
        first = positions.gather(1, inside.int().argmax(1, keepdim=True))
        self.positions = torch.where(inside, positions, first).flatten()
        return ""

    def resting_state(self) -> dict[str, Tensor]:
        return {"rates": torch.zeros(self.source_shape, dtype=torch.float32, device=self.decay.device)}

    def transmit(self, z: Tensor) -> Tensor:
        raise RuntimeError("max pooling has a state; call forward instead of transmit")

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        rates = state[self.name + ".rates"]
        rates = rates - self.decay * rates + z
        after[self.name + ".rates"] = rates
        winners = self.fields(rates).argmax(3, keepdim=True)
        return self.fields(z).gather(3, winners).reshape([-1] + list(self.target_shape))

    def fields(self, x: Tensor) -> Tensor:
        """Each field's elements, in row-major order: ``[B, *source]`` to ``[B, C, number of fields, elements]``."""
        # Constant sizes, and -1 for the batch, keep shape arithmetic out of the graph.
        channels = self.source_shape[0]
        if self.is_tiled:
            for axis in range(len(self.used)):
                if self.used[axis] < self.source_shape[1 + axis]:
                    x = x.narrow(2 + axis, 0, self.used[axis])
            x = x.reshape([-1, channels] + self.tiles).permute(self.fields_first)
        else:
            x = x.reshape([-1, channels, self.n_source // channels]).index_select(2, self.positions)
        return x.reshape([-1, channels, self.n_target // channels, self.field_size])


class MaxPool1d(MaxPool):
    """Pooling over ``[C, L]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 1
    pool: ClassVar[Callable[..., tuple[Tensor, Tensor]]] = staticmethod(functional.max_pool1d_with_indices)


class MaxPool2d(MaxPool):
    """Pooling over ``[C, H, W]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 2
    pool: ClassVar[Callable[..., tuple[Tensor, Tensor]]] = staticmethod(functional.max_pool2d_with_indices)


class MaxPool3d(MaxPool):
    """Pooling over ``[C, D, H, W]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 3
    pool: ClassVar[Callable[..., tuple[Tensor, Tensor]]] = staticmethod(functional.max_pool3d_with_indices)
