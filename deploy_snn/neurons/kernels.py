"""The response and refractory kernels of the cumulative spike response model, with BindsNET's names.

Each is a function of the time ``t`` since the event and of the time constant ``tau``, both in ms. The equations are those
of Gerstner & van Hemmen 1992 (doi:10.1088/0954-898X_3_2_004) and, for AlphaKernelSLAYER, Shrestha & Orchard 2018.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput

Kernel = Callable[[Tensor, Tensor], Tensor]

SLACK = 1e-6
"""Relative tolerance for the rounding of times: a sample at tau counts as t <= tau, and no window gets an extra step."""

RESPONSE: dict[str, Kernel] = {
    "AlphaKernel": lambda t, tau: (1 / tau**2) * t * torch.exp(-t / tau),
    "AlphaKernelSLAYER": lambda t, tau: (1 / tau) * t * torch.exp(1 - t / tau),
    "LaplacianKernel": lambda t, tau: (1 / (2 * tau)) * torch.exp(-torch.abs(t) / tau),
    "ExponentialKernel": lambda t, tau: (1 / tau) * torch.exp(-t / tau),
    "RectangularKernel": lambda t, tau: torch.where(t <= tau * (1 + SLACK), 1 / (2 * tau), 0.0),
    "TriangularKernel": lambda t, tau: torch.clamp(1 - t / tau, min=0.0) / tau,
}

REFRACTORY: dict[str, Kernel] = {"EtaKernel": lambda t, tau: -torch.exp(-t / tau)}


def pick(kernels: dict[str, Kernel], name: str) -> Kernel:
    """Return a kernel by name. Raises InvalidInput, with the known names, for an unknown name."""
    if name not in kernels:
        raise InvalidInput(f"unknown kernel '{name}'; choose from {', '.join(kernels)}")
    return kernels[name]


def samples(window: float, dt: float) -> int:
    """The number of steps in a window, ``ceil(window / dt)`` with a tolerance for rounding. Both arguments are in ms."""
    if not 0 < window < math.inf:
        raise InvalidInput(f"window of {window} ms: expected a finite length greater than 0")
    return math.ceil(window / dt * (1 - SLACK))
