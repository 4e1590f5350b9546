"""Stochastic synapses: each synapse transmits a spike with its own probability."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from deploy_snn.contract import BATCH, Axis, Role, TensorSpec
from deploy_snn.network.connection import Dense, Exactness, weights


class StochasticDense(Dense):
    """All to all, with stochastic synapses: ``drive = z @ (w where noise < p) + b``.

    The connection draws no random numbers. The network has an input ``SOURCE_to_TARGET.noise`` ``[B, N, M]`` for them,
    uniform on [0, 1).

    Args:
        w: weights ``[N, M]``, source by target, in mV.
        p: probability of transmission, from 0 to 1: one number, or ``[N, M]``.
        b: bias ``[M]``, in mV, or None.
    """

    EXACT: ClassVar[Exactness] = "sums"  # the sum of a subset of the absolute weights is at most the sum of all
    TAKES_NOISE: ClassVar[bool] = True

    p: Tensor

    def __init__(self, w: Tensor, p: Tensor | float | Sequence[float], b: Tensor | None = None) -> None:
        super().__init__(w, b)
        self.register_buffer("p", weights("p", p))

    def shape_error(self) -> str:
        if self.p.dim() and self.p.shape != self.w.shape:
            return f"p is {list(self.p.shape)}, expected one number or {list(self.w.shape)}"
        if bool((self.p < 0).any()) or bool((self.p > 1).any()):
            return "p must hold probabilities from 0 to 1"
        return super().shape_error()

    def noise(self) -> TensorSpec:
        axes = (BATCH, Axis(name="source", size=self.n_source), Axis(name="target", size=self.n_target))
        return TensorSpec(name="noise", role=Role.NOISE, axes=axes).owned_by(self.name)

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        return self.shaped(self.drive(self.flat(z), inputs[self.name + ".noise"]))

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        drive = self.drive(z.flatten(2), inputs[f"{self.name}.noise"])
        return drive if len(self.target_shape) == 1 else torch.unflatten(drive, 2, self.target_shape)

    def drive(self, z: Tensor, noise: Tensor) -> Tensor:
        """Compute the drive ``[..., M]`` from spikes ``[..., N]`` and noise ``[..., N, M]``."""
        synapses = torch.where(noise < self.p, self.w, torch.zeros_like(self.w))
        drive = torch.matmul(z.unsqueeze(-2), synapses).squeeze(-2)
        b = self.b
        if b is not None:
            drive = drive + b
        return drive
