"""Integrate-and-fire as a difference equation: the discretised neurons of most training frameworks.

The parameters are the factors of one step (decay, gain), not time constants. Each framework derives the factors from time
constants in its own way, and the trained model is the one with these factors.
"""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from deploy_snn.contract import Rounding, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.neurons.graded import CURRENT, V, add_optional_parameters, leak_and_drive, resting_potential
from deploy_snn.neurons.nodes import Nodes, NodesOptions, Number

RESET_AFTER = ("spike", "leak")


class Heaviside(Nodes):
    """Fires while its drive is above the threshold: ``s = x > thresh``. It has no state.

    It is Threshold in Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9. :class:`McCullochPitts` also fires if the drive
    is equal to the threshold.

    Equation:
        s = x > thresh

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
        return x > self.thresh, x, self.resting_state()

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, self.expand(self.thresh)


class DifferenceOptions(NodesOptions, total=False):
    """The keywords of both classes."""

    thresh: Number
    inclusive: bool
    reset: Number | None
    reset_after: str
    decay: Number | None
    rest: Number | None
    gain: Number | None


class DifferenceLIFNodes(Nodes):
    """LIF as a difference equation: ``v = decay * (v - rest) + rest + gain * x``, ``s = v > thresh``, then the reset.

    The reset sets the potential to ``reset``, or subtracts ``thresh`` if ``reset`` is None. With ``reset_after="leak"`` the
    reset takes place in the next step, after leak and drive: ``v = decay * (v - rest) + rest + gain * x - thresh`` if the
    potential of the previous step was above the threshold (Eshraghian et al. 2023, doi:10.1109/JPROC.2023.3308088). Without
    decay it is integrate-and-fire. These are LIF and IF in Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9; for decay
    and gain see :class:`Integrator`. State: ``v`` (rest), ``[B, *shape]``. The equation is that of the defaults.

    Equation:
        v = decay * (v - rest) + rest + gain * x
        s = v > thresh
        v = where(s, v - thresh if reset is None else reset, v)

    Args:
        thresh: threshold, in mV. inclusive: whether a potential equal to the threshold fires.
        reset: potential after a spike, in mV; None to subtract the threshold.
        reset_after: "spike" to reset in the step of the spike; "leak" to reset in the next step.
        decay: factor on ``v - rest`` in each step; None for no leak.
        rest: resting potential, in mV; None for 0. gain: factor on the drive; None for 1.
    """

    ROUNDING: ClassVar[tuple[Rounding, ...]] = ()
    STATES: ClassVar[tuple[TensorSpec, ...]] = (V,)
    __constants__: ClassVar[list[str]] = [*Nodes.__constants__, "inclusive", "late"]

    thresh: Tensor
    reset: Tensor | None
    decay: Tensor | None
    rest: Tensor | None
    gain: Tensor | None

    def __init__(
        self,
        n: int | None = None,
        shape: Sequence[int] | None = None,
        *,
        thresh: Number = 1.0,
        inclusive: bool = False,
        reset: Number | None = None,
        reset_after: str = "spike",
        decay: Number | None = None,
        rest: Number | None = None,
        gain: Number | None = None,
        **options: Unpack[NodesOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        if reset_after not in RESET_AFTER:
            raise InvalidInput(f"{type(self).__name__}(reset_after={reset_after!r}): expected {' or '.join(RESET_AFTER)}")
        self.add_parameter("thresh", thresh)
        add_optional_parameters(self, reset=reset, decay=decay, rest=rest, gain=gain)
        self.inclusive = bool(inclusive)
        self.reset_after = reset_after
        self.late = reset_after == "leak"

    def resting_state(self) -> dict[str, Tensor]:
        return {"v": resting_potential(torch.zeros_like(self.expand(self.dt)), self.rest)}

    def fires(self, v: Tensor) -> Tensor:
        return v >= self.thresh if self.inclusive else v > self.thresh

    def integrate(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        """The potential that is compared with the threshold."""
        v = leak_and_drive(x, state["v"], self.decay, self.rest, self.gain)
        return self.apply_reset(self.fires(state["v"]), v) if self.late else v

    def apply_reset(self, s: Tensor, v: Tensor) -> Tensor:
        """Reset the potential of the neurons that spiked."""
        reset = self.reset
        return torch.where(s, v - self.thresh, v) if reset is None else torch.where(s, reset, v)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        v = self.integrate(x, state)
        s = self.fires(v)
        return s, x, {"v": v if self.late else self.apply_reset(s, v)}

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(x, state), self.expand(self.thresh)


class DifferenceCurrentLIFNodes(DifferenceLIFNodes):
    """DifferenceLIF with a synaptic current ``i = i_decay * i + i_gain * x``, which is the drive of the membrane.

    It is CubaLIF in Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9. State: ``v`` (rest), ``i`` (0), each
    ``[B, *shape]``.

    Equation:
        i = i_decay * i + i_gain * x
        v = decay * (v - rest) + rest + gain * i
        s = v > thresh
        v = where(s, v - thresh if reset is None else reset, v)

    Args:
        i_decay: factor on the current in each step; None for 1. i_gain: factor on the drive; None for 1.

    Further keywords: those of :class:`DifferenceLIFNodes`.
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
        **options: Unpack[DifferenceOptions],
    ) -> None:
        super().__init__(n, shape, **options)
        add_optional_parameters(self, i_decay=i_decay, i_gain=i_gain)

    def resting_state(self) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.expand(self.dt))
        return {"v": resting_potential(zero, self.rest), "i": zero}

    def current(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        return leak_and_drive(x, state["i"], self.i_decay, None, self.i_gain)

    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        i = self.current(x, state)
        v = self.integrate(i, state)
        s = self.fires(v)
        return s, x, {"v": v if self.late else self.apply_reset(s, v), "i": i}

    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.integrate(self.current(x, state), state), self.expand(self.thresh)
