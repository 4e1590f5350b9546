"""Neurons without a membrane: an input for spikes, and a threshold unit."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Rounding
from deploy_snn.neurons.nodes import Nodes, NodesOptions, Number


class Input(Nodes):
    """Outputs the spikes of its input: ``s = x != 0``. ``x`` is float32, like every drive. It has no state.

    Equation:
        s = x != 0
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()

    def resting_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        return state

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return x != 0, x, self.resting_state()

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.abs(), torch.full_like(x, 2.0**-149)  # the smallest positive float32


class McCullochPitts(Nodes):
    """Fires while its drive is at or above the threshold (McCulloch & Pitts 1943, doi:10.1007/BF02478259). It has no state.

    Equation:
        s = x >= thresh

    Args:
        thresh: the threshold, in the unit of the drive.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()

    thresh: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        thresh: Number = 1.0,
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("thresh", thresh)

    def resting_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        return state

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return x >= self.thresh, x, self.resting_state()

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, self.expand(self.thresh)
