"""Graded neurons, which output numbers instead of spikes: a relay, a delay line, and integrators without a threshold."""

from collections.abc import Sequence
from typing import ClassVar, TypedDict, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import BATCH, NEURONS, WINDOW, Kind, Role, Rounding, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.neurons.nodes import VALUES, Nodes, Number


class GradedOptions(TypedDict, total=False):
    """The keywords of every graded class. Spike traces are not among them."""

    sum_input: bool
    dt: float


class GradedNodes(Nodes):
    """The base class of the graded neurons: ``s`` is float32, and there is no threshold."""

    OUTPUT: ClassVar[TensorSpec] = VALUES

    def __init__(self, n: int | None = None, shape: Sequence[int] | None = None, **options: Unpack[GradedOptions]) -> None:
        super().__init__(n, shape, **options)
        if self.traces:
            raise InvalidInput(f"{type(self).__name__}(traces=True): a graded neuron has no spikes to trace")

    def resting_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        return state

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise RuntimeError(f"{type(self).__name__} has no threshold")


class Relay(GradedNodes):
    """Outputs its drive: ``s = x``. As an external layer it is a network's input for numbers. It has no state.

    It is Input and Output in Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9.

    Equation:
        s = x
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return x, x, self.resting_state()


class DelayLine(GradedNodes):
    """Outputs its drive after a delay: ``s(t) = x(t - delay)``, and 0 before that.

    The input ``x`` ``[B, window, *shape]`` is a window of past drives, newest last. Its length is the longest delay in
    steps plus one. A network keeps the window as its own state. The class has no state. It is Delay in Pedersen et al.
    2024, doi:10.1038/s41467-024-52259-9.

    Equation:
        s = x[int(-1 - delay / dt)]

    Args:
        delay: delay in ms, a whole number of steps: one number, or one for each neuron. Raises InvalidInput otherwise.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    DRIVE: ClassVar[TensorSpec] = TensorSpec(name="x", role=Role.DRIVE, axes=(BATCH, WINDOW, NEURONS), unit="mV")

    delay: Tensor
    place: Tensor

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        delay: Number = 1.0,
        **options: Unpack[GradedOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        self.add_parameter("delay", delay)
        exact = self.delay.double() / self.dt.double()
        steps = exact.round()
        if (steps < 0).any() or ((exact - steps).abs() > 1e-5 * steps.clamp(min=1)).any():
            raise InvalidInput(
                f"DelayLine(delay=...): each delay must be a non-negative whole number of steps of {self.dt_in_ms()} ms"
            )
        self.window = int(steps.max()) + 1
        # The index of each neuron's value in the flattened window: a gather with constant indices, for any batch size.
        slot = (self.window - 1 - steps.to(torch.int64)).expand(self.shape).flatten()
        self.register_buffer("place", slot * self.n + torch.arange(self.n), persistent=False)

    def sized(self, spec: TensorSpec) -> TensorSpec:
        return spec.over(self.shape, self.window)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        late = x.reshape([-1, self.window * self.n]).index_select(1, self.place).reshape([-1] + list(self.shape))
        return late, x.select(1, -1), self.resting_state()


class LeakOptions(GradedOptions, total=False):
    """The keywords of a linear membrane."""

    decay: Number | None
    rest: Number | None
    gain: Number | None


def add_optional_parameters(neuron: Nodes, **values: Number | None) -> None:
    """Register parameters as buffers. None means that the equation does not have this term."""
    for name, value in values.items():
        if value is None:
            neuron.register_buffer(name, None)
        else:
            neuron.add_parameter(name, value)


def leak_and_drive(x: Tensor, v: Tensor, decay: Tensor | None, rest: Tensor | None, gain: Tensor | None) -> Tensor:
    """One step of a linear membrane, ``decay * (v - rest) + rest + gain * x``, without the terms that are None."""
    if gain is not None:
        x = gain * x
    if decay is not None:
        v = decay * v if rest is None else decay * (v - rest) + rest
    return v + x


def resting_potential(zero: Tensor, rest: Tensor | None) -> Tensor:
    """The resting potential of every neuron, in the shape of ``zero``; 0 if ``rest`` is None."""
    return zero if rest is None else rest.expand_as(zero)


V = TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL, initial="rest", unit="mV")
CURRENT = TensorSpec(name="i", role=Role.STATE, kind=Kind.CURRENT, initial="0", unit="mV")


class Integrator(GradedNodes):
    """A membrane without a threshold, as a difference equation: ``v = decay * (v - rest) + rest + gain * x``, ``s = v``.

    It is the leaky integrator ``tau dv/dt = (rest - v) + R x`` in steps of dt. ``decay = 1 - dt / tau`` is the Euler
    method; ``decay = exp(-dt / tau)`` is exact for a drive that is constant during the step. In both cases ``gain = R * (1
    - decay)``. Without decay it is the integrator ``dv/dt = R x``, with ``gain = R * dt`` (LI and I in Pedersen et al.
    2024, doi:10.1038/s41467-024-52259-9). State: ``v`` (rest), ``[B, *shape]``.

    Equation:
        v = decay * (v - rest) + rest + gain * x
        s = v

    Args:
        decay: factor on ``v - rest`` in each step; None for no leak.
        rest: resting potential, in mV; None for 0. gain: factor on the drive; None for 1.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (V,)

    decay: Tensor | None
    rest: Tensor | None
    gain: Tensor | None

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        decay: Number | None = None,
        rest: Number | None = None,
        gain: Number | None = None,
        **options: Unpack[GradedOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        add_optional_parameters(self, decay=decay, rest=rest, gain=gain)

    def resting_state(self) -> dict[str, Tensor]:
        return {"v": resting_potential(torch.zeros_like(self.expand(self.dt)), self.rest)}

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v = leak_and_drive(x, state["v"], self.decay, self.rest, self.gain)
        return v, x, {"v": v}


class CurrentIntegrator(Integrator):
    """An integrator with a synaptic current ``i = i_decay * i + i_gain * x``, which is the drive of the membrane.

    It is ``tau_syn di/dt = -i + w x`` and ``tau dv/dt = (rest - v) + R i`` in steps of dt (CubaLI in Pedersen et al. 2024).
    State: ``v`` (rest), ``i`` (0), each ``[B, *shape]``.

    Equation:
        i = i_decay * i + i_gain * x
        v = decay * (v - rest) + rest + gain * i
        s = v

    Args:
        i_decay: factor on the current in each step; None for 1. i_gain: factor on the drive; None for 1.

    Further keywords: those of :class:`Integrator`.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (V, CURRENT)

    i_decay: Tensor | None
    i_gain: Tensor | None

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        i_decay: Number | None = None,
        i_gain: Number | None = None,
        **options: Unpack[LeakOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        add_optional_parameters(self, i_decay=i_decay, i_gain=i_gain)

    def resting_state(self) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.expand(self.dt))
        return {"v": resting_potential(zero, self.rest), "i": zero}

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        i = leak_and_drive(x, state["i"], self.i_decay, None, self.i_gain)
        v = leak_and_drive(i, state["v"], self.decay, self.rest, self.gain)
        return v, x, {"v": v, "i": i}
