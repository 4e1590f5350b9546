"""Spiking max pooling in one to three dimensions: the source neuron with the highest recent rate is passed on."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deploy_snn.contract import Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.network.connection import Connection, Exactness, weights
from deploy_snn.network.convolution import Sizes, per_axis

RATES = TensorSpec(name="rates", role=Role.STATE, kind=Kind.TRACE, initial="0")


class MaxPool(Connection):
    """The base class of spiking max pooling: in each field, the source neuron with the largest rate is passed on.

    Each step first updates ``rates = rates - decay * rates + z``. Of equal rates the first one wins (Rueckauer et al. 2017,
    doi:10.3389/fnins.2017.00682). State: ``rates`` ``[B, *source]``, initially 0.

    Args:
        kernel_size, stride, padding, dilation: one number, or one for each axis. The default stride is the kernel size.
        decay: the fraction of its rate that a source neuron loses in each step.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = (RATES,)
    axes: ClassVar[int]

    decay: Tensor

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
        if self.decay.dim() or not 0 <= self.decay <= 1:
            raise InvalidInput(f"decay={decay}: expected a fraction between 0 and 1")

    def shape_error(self) -> str:
        if len(self.source_shape) != self.axes + 1:
            return f"the shape of the source must be channels and {self.axes} sizes"
        try:
            output_shape = list(self.winners(torch.zeros(1, *self.source_shape)).shape[1:])
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        return "" if output_shape == list(self.target_shape) else f"the pooling outputs {output_shape}"

    def resting_state(self) -> dict[str, Tensor]:
        return {"rates": torch.zeros(self.source_shape, dtype=torch.float32, device=self.decay.device)}

    def transmit(self, z: Tensor) -> Tensor:
        raise RuntimeError("max pooling has a state; call forward instead of transmit")

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        rates = state[self.name + ".rates"]
        rates = rates - self.decay * rates + z
        after[self.name + ".rates"] = rates
        # Constant sizes, and -1 for the batch, keep shape arithmetic out of the graph.
        channels = self.source_shape[0]
        winners = self.winners(rates).reshape([-1, channels, self.n_target // channels])
        spikes = z.reshape([-1, channels, self.n_source // channels]).gather(2, winners)
        return spikes.reshape([-1] + list(self.target_shape))

    @abstractmethod
    def winners(self, rates: Tensor) -> Tensor:
        """The flat index, within its channel, of the source neuron with the largest rate in each field."""


class MaxPool1d(MaxPool):
    """Pooling over ``[C, L]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 1

    def winners(self, rates: Tensor) -> Tensor:
        return functional.max_pool1d_with_indices(rates, self.kernel_size, self.stride, self.padding, self.dilation)[1]


class MaxPool2d(MaxPool):
    """Pooling over ``[C, H, W]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 2

    def winners(self, rates: Tensor) -> Tensor:
        return functional.max_pool2d_with_indices(rates, self.kernel_size, self.stride, self.padding, self.dilation)[1]


class MaxPool3d(MaxPool):
    """Pooling over ``[C, D, H, W]``. Arguments: those of :class:`MaxPool`."""

    EXACT: ClassVar[Exactness] = "always"
    axes: ClassVar[int] = 3

    def winners(self, rates: Tensor) -> Tensor:
        return functional.max_pool3d_with_indices(rates, self.kernel_size, self.stride, self.padding, self.dilation)[1]
