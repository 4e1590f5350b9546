"""Sum pooling and average pooling in two dimensions."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deploy_snn.errors import first_line
from deploy_snn.network.connection import Connection, Exactness, weights
from deploy_snn.network.convolution import Sizes, per_axis


class SumPool2d(Connection):
    """Sums each field, channel by channel. Padding counts as 0.

    The sum of spikes is a whole number, and so it is exact. It is computed as a convolution with ones, which every runtime
    supports.

    Args:
        kernel_size, stride, padding: one number, or one for each axis. The default stride is the kernel size.
    """

    EXACT: ClassVar[Exactness] = "spikes"

    ones: Tensor

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        super().__init__()
        self.kernel_size = per_axis("kernel_size", kernel_size, 2)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, 2)
        self.padding = per_axis("padding", padding, 2, least=0)
        self.channels = 1
        self.register_buffer("ones", torch.ones(1, 1, *self.kernel_size))

    def shape_error(self) -> str:
        if len(self.source_shape) != 3:
            return "the shape of the source must be channels and 2 sizes"
        self.channels = self.source_shape[0]
        self.ones = torch.ones(self.channels, 1, *self.kernel_size)
        try:
            output_shape = list(self.transmit(torch.zeros(1, *self.source_shape)).shape[1:])
        except RuntimeError as error:
            return first_line(error)
        return "" if output_shape == list(self.target_shape) else f"the pooling outputs {output_shape}"

    def total(self, z: Tensor) -> Tensor:
        return functional.conv2d(z, self.ones, None, self.stride, self.padding, 1, self.channels)

    def transmit(self, z: Tensor) -> Tensor:
        return self.total(z)


class AvgPool2d(SumPool2d):
    """Averages each field, channel by channel. Padding counts as 0.

    Arguments: those of :class:`SumPool2d`.
    """

    EXACT: ClassVar[Exactness] = "spikes"

    field: Tensor

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        super().__init__(kernel_size, stride, padding)
        self.register_buffer("field", weights("field", float(self.kernel_size[0] * self.kernel_size[1])))

    def transmit(self, z: Tensor) -> Tensor:
        return self.total(z) / self.field
