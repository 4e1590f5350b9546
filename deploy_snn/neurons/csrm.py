"""The cumulative spike response model: it filters a window of past drives and a window of its own past spikes."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import BATCH, NEURONS, WINDOW, Kind, Role, Rounding, TensorSpec
from deploy_snn.neurons import kernels
from deploy_snn.neurons.adaptive import THETA
from deploy_snn.neurons.integrate_and_fire import MembraneNodes, potential
from deploy_snn.neurons.nodes import NodesOptions, Number

LAST_SPIKES = TensorSpec(name="last_spikes", role=Role.STATE, kind=Kind.WINDOW, axes=(BATCH, WINDOW, NEURONS), initial="0")


class CSRMNodes(MembraneNodes):
    """Cumulative spike response model (Gerstner & van Hemmen 1992, doi:10.1088/0954-898X_3_2_004).

    The input ``x`` ``[B, res_window, *shape]`` is a window of past drives, newest last. A window of w ms holds
    ``ceil(w / dt)`` steps.

    State: ``v`` (rest) ``[B, *shape]``, ``last_spikes`` (0) ``[B, ref_window, *shape]``, newest last. With
    ``learning=True`` also ``theta`` ``[*shape]``.

    Equation:
        theta = exp(-dt / tc_theta_decay) * theta
        v = exp(-dt / tc_decay) * v + resKernel @ x + refKernel @ last_spikes
        s = v >= thresh + theta
        v = max(v, lbound)
        last_spikes = append(last_spikes[1:], s)
        theta = theta + theta_plus * s

    Args:
        rest: initial potential, in mV. thresh: threshold, in mV.
        responseKernel: response to a drive over time: AlphaKernel, AlphaKernelSLAYER, LaplacianKernel,
            ExponentialKernel, RectangularKernel or TriangularKernel. refractoryKernel: EtaKernel.
        tau: time constant of the kernels, in ms. reset_const: amplitude of the refractory kernel, in mV.
        res_window_size: window of the drive, in ms. ref_window_size: window of the neuron's own spikes, in ms.
        tc_decay: membrane time constant, in ms.
        theta_plus: increase of theta per spike, in mV. tc_theta_decay: time constant of theta's decay, in ms.
        lbound: lower bound of the potential, in mV, or None.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    DRIVE: ClassVar[TensorSpec] = TensorSpec(name="x", role=Role.DRIVE, axes=(BATCH, WINDOW, NEURONS), unit="mV")
    STATES: ClassVar[tuple[TensorSpec, ...]] = (potential("rest"), THETA, LAST_SPIKES)

    rest: Tensor
    thresh: Tensor
    tau: Tensor
    reset_const: Tensor
    tc_decay: Tensor
    decay: Tensor
    theta: Tensor
    theta_plus: Tensor
    theta_decay: Tensor
    resKernel: Tensor  # noqa: N815
    refKernel: Tensor  # noqa: N815

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        rest: Number = -65.0,
        thresh: Number = -52.0,
        responseKernel: str = "ExponentialKernel",  # noqa: N803  (BindsNET's names)
        refractoryKernel: str = "EtaKernel",  # noqa: N803
        tau: Number = 1,
        res_window_size: float = 20,
        ref_window_size: float = 10,
        reset_const: Number = 50,
        tc_decay: Number = 100.0,
        theta_plus: Number = 0.05,
        tc_theta_decay: Number = 1e7,
        lbound: Number | None = None,
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("rest", rest)
        self.add_parameter("thresh", thresh)
        self.add_parameter("tau", tau, positive=True)
        self.add_parameter("reset_const", reset_const)
        self.add_decay("tc_decay", tc_decay, "decay")
        self.add_parameter("theta_plus", theta_plus)
        self.add_decay("tc_theta_decay", tc_theta_decay, "theta_decay")
        self.register_buffer("theta", torch.zeros(self.shape, dtype=torch.float32))
        self.add_lbound(lbound)
        self.shared_state = "theta"
        self.responseKernel = responseKernel
        self.refractoryKernel = refractoryKernel
        self.res_window_size = float(res_window_size)
        self.ref_window_size = float(ref_window_size)
        response, refractory = (
            kernels.pick(kernels.RESPONSE, responseKernel),
            kernels.pick(kernels.REFRACTORY, refractoryKernel),
        )
        self.res_window = kernels.samples(self.res_window_size, float(self.dt))
        self.ref_window = kernels.samples(self.ref_window_size, float(self.dt))
        self.register_buffer("resKernel", self._sampled(response, self.res_window))
        self.register_buffer("refKernel", self._sampled(refractory, self.ref_window, self.reset_const))

    def _sampled(self, kernel: kernels.Kernel, window: int, amplitude: Tensor | None = None) -> Tensor:
        """Sample the kernel at 0, dt, 2 dt, ..., newest last: ``[window]``, or ``[window, *shape]`` if per neuron."""
        t = torch.arange(window, dtype=torch.float32) * self.dt
        per_neuron = max(self.tau.dim(), self.reset_const.dim()) > 0
        if per_neuron:
            t = t.reshape(-1, *(1 for _ in self.shape)).expand(window, *self.shape)
        values = kernel(t, self.tau)
        return (values if amplitude is None else amplitude * values).flip(0)

    def sized(self, spec: TensorSpec) -> TensorSpec:
        return spec.over(self.shape, self.ref_window if spec == LAST_SPIKES else self.res_window)

    def own_states(self) -> tuple[TensorSpec, ...]:
        return self.STATES if self.learning else tuple(spec for spec in self.STATES if spec != THETA)

    def resting_state(self) -> dict[str, Tensor]:
        v = self.expand(self.rest)
        state = {"v": v, "last_spikes": torch.zeros_like(v).expand([self.ref_window] + list(self.shape))}
        if self.learning:
            state["theta"] = self.expand(self.theta)
        return state

    def weigh(self, kernel: Tensor, window: Tensor) -> Tensor:
        """Sum the window over its steps, weighted by the kernel: ``[B, W, *shape]`` to ``[B, *shape]``."""
        if kernel.dim() == 1:
            kernel = kernel.reshape([-1] + [1] * len(self.shape))
        # Pairwise sums fix the order of addition in the graph, so that every runtime computes the same bits. In a single
        # reduction over the window, each runtime would choose its own order.
        terms = kernel * window
        odd: list[Tensor] = []
        while terms.size(1) > 1:
            half = terms.size(1) // 2
            if terms.size(1) % 2 == 1:
                left, right, last = terms.split_with_sizes([half, half, 1], 1)
                odd.append(last)
            else:
                left, right = terms.split_with_sizes([half, half], 1)
            terms = left + right
        for last in odd:
            terms = terms + last
        return terms.squeeze(1)

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        theta = state["theta"] * self.theta_decay if self.learning else self.theta
        entered = self.weigh(self.resKernel, x) + self.weigh(self.refKernel, state["last_spikes"])
        return state["v"] * self.decay + entered, theta

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v, theta = self.integrate(x, state)
        s = v >= self.thresh + theta
        spikes = s.to(torch.float32)
        after = {
            "v": self.clip(v),
            "last_spikes": torch.cat([state["last_spikes"].narrow(1, 1, self.ref_window - 1), spikes.unsqueeze(1)], 1),
        }
        if self.learning:
            after["theta"] = theta + self.theta_plus * spikes.sum(0)
        return s, x.select(1, -1), after

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v, theta = self.integrate(x, state)
        return v, self.expand(self.thresh + theta)
