"""Izhikevich's simple model, with its own recurrent weights."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Kind, Operation, Role, Rounding, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.neurons.integrate_and_fire import MembraneNodes, potential
from deploy_snn.neurons.nodes import NodesOptions, Number


class IzhikevichNodes(MembraneNodes):
    """Izhikevich's simple model of spiking neurons (Izhikevich 2003, doi:10.1109/TNN.2003.820440).

    The first ``int(N * excitatory)`` neurons are excitatory, the others inhibitory. The constructor draws ``a``, ``b``,
    ``c``, ``d`` ``[*shape]`` and the recurrent weights ``S`` ``[N, N]`` (row: target) from torch's global generator. S lies
    on the finest dyadic grid on which a sum of N weights is exact in float32, so the recurrent drive has the same bits for
    any order of addition.

    State: ``v`` (rest), ``u`` (b*v), each ``[B, *shape]``.

    Equation:
        s = v >= thresh
        v = where(s, c, v)
        u = where(s, u + d, u)
        x = x + S @ s
        v = v + dt / 2 * (0.04 * v**2 + 5 * v + 140 - u + x)
        v = v + dt / 2 * (0.04 * v**2 + 5 * v + 140 - u + x)
        u = u + dt * a * (b * v - u)
        v = max(v, lbound)

    Args:
        excitatory: fraction of excitatory neurons, clamped to [0, 1].
        thresh: potential at which a spike is counted, in mV. rest: initial potential, in mV.
        lbound: lower bound of the potential, in mV, or None.
        spike_at: "start" compares the potential at the start of a step with the threshold, so a spike is reported one step
            late; "end" compares the potential at the end of the step, as in BindsNET 0.3.4.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = (
        potential("rest"),
        TensorSpec(name="u", role=Role.STATE, kind=Kind.RECOVERY, initial="b * v", unit="mV"),
    )
    ROUNDING: ClassVar[tuple[Rounding, ...]] = (Rounding(tensor="v", operation=Operation.SUM),)  # s @ S.T

    __constants__: ClassVar[list[str]] = [*MembraneNodes.__constants__, "spikes_at_start"]

    thresh: Tensor
    rest: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    S: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        excitatory: float = 1,
        thresh: Number = 45.0,
        rest: Number = -65.0,
        lbound: Number | None = None,
        spike_at: Literal["start", "end"] = "start",
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        if spike_at not in ("start", "end"):
            raise InvalidInput(f"IzhikevichNodes(spike_at={spike_at!r}): expected 'start' or 'end'")
        self.spike_at = spike_at
        self.spikes_at_start = spike_at == "start"
        self.add_parameter("thresh", thresh)
        self.add_parameter("rest", rest)
        self.add_lbound(lbound)
        self.excitatory = min(max(float(excitatory), 0.0), 1.0)
        self._draw(int(self.n * self.excitatory))

    def _draw(self, n_excitatory: int) -> None:
        n_inhibitory = self.n - n_excitatory
        r, q = torch.rand(n_excitatory), torch.rand(n_inhibitory)
        drawn = {
            "a": (torch.full_like(r, 0.02), 0.02 + 0.08 * q),
            "b": (torch.full_like(r, 0.2), 0.25 - 0.05 * q),
            "c": (-65 + 15 * r**2, torch.full_like(q, -65.0)),
            "d": (8 - 6 * r**2, torch.full_like(q, 2.0)),
        }
        for name, parts in drawn.items():
            self.register_buffer(name, torch.cat(parts).reshape(self.shape))
        weights = torch.cat((0.5 * torch.rand(self.n, n_excitatory), -torch.rand(self.n, n_inhibitory)), dim=1)
        steps = 2.0 ** (23 - math.ceil(math.log2(self.n + 1)))  # |sum of N weights| < N, in units of 1/steps: below 2**23
        self.register_buffer("S", torch.floor(weights * steps) / steps)

    def resting_state(self) -> dict[str, Tensor]:
        v = self.expand(self.rest)
        return {"v": v, "u": self.b * v}

    def recur(self, s: Tensor) -> Tensor:
        """The recurrent drive of each neuron from the spikes of this step."""
        if len(self.shape) == 1:
            return s.to(torch.float32) @ self.S.T
        return (s.to(torch.float32).reshape([-1, self.n]) @ self.S.T).reshape([-1] + list(self.shape))

    def half_step(self, v: Tensor, u: Tensor, x: Tensor) -> Tensor:
        return v + self.dt * 0.5 * (0.04 * (v * v) + 5 * v + 140 - u + x)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, u = state["v"], state["u"]
        s = v >= self.thresh
        v = torch.where(s, self.c, v)
        u = torch.where(s, u + self.d, u)
        x = x + self.recur(s)
        v = self.half_step(v, u, x)
        v = self.half_step(v, u, x)
        u = u + self.dt * self.a * (self.b * v - u)
        v = self.clip(v)
        if not self.spikes_at_start:
            s = v >= self.thresh
        return s, x, {"v": v, "u": u}

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = state["v"] if self.spikes_at_start else self.step(x, state, noise)[2]["v"]
        return v, self.expand(self.thresh)
