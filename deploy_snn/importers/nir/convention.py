"""How a framework discretises the differential equations of a NIR file.

NIR files contain time constants and resistances, but not how the writer steps them. A convention describes that step. The
factors of our difference equations follow from it; they are computed in float64, and then rounded once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deploy_snn.errors import InvalidInput

Floats = NDArray[np.float64]
Gain = Literal["integrated", "jump", "jump then decay", "one", "decay"]

GAINS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "integrated": lambda weight, loss: weight * loss,
    "jump": lambda weight, _: weight,
    "jump then decay": lambda weight, loss: weight * (1 - loss),
    "one": lambda weight, _: np.ones_like(weight),
    "decay": lambda weight, _: weight,
}
"""What an input of 1 adds, as a function of its factor in the file (r or w_in) and of the loss ``1 - decay`` of a step.

With "decay", the r of a firing node is its decay, and an input of 1 adds 1.
"""

Reset = Literal["value", "subtract", "value after leak", "subtract after leak", "none"]
RESETS: tuple[Reset, ...] = get_args(Reset)


@dataclass(frozen=True)
class Convention:
    """How a writer discretises a step. ``dt`` is in ms, None for writers without a dt of their own.

    Args:
        method: how a time constant becomes a decay: ``1 - dt/tau``, or ``exp(-dt/tau)``.
        tau: the unit of the file's time constants: seconds, steps, or seconds times dt.
        membrane: how an input is added to a leaky membrane, with factor r. synapse: how it is added to a synaptic current,
            with factor w_in. charge: how it is added to a membrane without leak, with factor r; "integrated" is ``r * dt``.
        reset: a reset to v_reset or a subtraction of the threshold, at once or in the next step after the leak; or none.
        current_reset: the reset of neurons with a synaptic current; None if it is the same.
        inclusive: whether a potential equal to the threshold fires.
        late: whether spikes leave a neuron one step after its potential has crossed the threshold.
        silent: what the writer omits from a file without a warning, and what to do.
    """

    method: Literal["euler", "exponential"] = "euler"
    tau: Literal["seconds", "steps", "seconds x dt"] = "seconds"
    membrane: Gain = "integrated"
    synapse: Gain = "integrated"
    charge: Gain = "integrated"
    reset: Reset = "value"
    current_reset: Reset | None = None
    inclusive: bool = False
    late: bool = False
    dt: float | None = None
    about: str = ""
    silent: tuple[str, ...] = ()

    def loss(self, tau: Floats, dt: float) -> Floats:
        """The loss ``1 - decay`` of a step; dt in seconds. Raises InvalidInput for tau <= 0."""
        unit = {"seconds": dt, "steps": 1.0, "seconds x dt": dt * dt}[self.tau]
        if not (tau > 0).all():
            raise InvalidInput("a time constant is not greater than 0")
        steps = tau / unit
        if self.method == "exponential":
            return -np.expm1(-1 / steps)
        # In float32, a tau of exactly one step may be slightly shorter than the step.
        if (steps < 1 - 1e-6).any():
            raise InvalidInput(
                f"a time constant of {tau.min():g} is shorter than a step, and Euler's rule would overshoot: "
                f"is dt={dt * 1e3:g} ms right, and the convention?"
            )
        return np.minimum(1 / steps, 1.0)

    def tau_of(self, loss: Floats, dt: float) -> Floats:
        """The time constant of a loss ``1 - decay``, in the unit of the file; dt in seconds."""
        unit = {"seconds": dt, "steps": 1.0, "seconds x dt": dt * dt}[self.tau]
        with np.errstate(divide="ignore"):
            return unit / loss if self.method == "euler" else -unit / np.log1p(-loss)


EULER = "euler"

CONVENTIONS: dict[str, Convention] = {
    EULER: Convention(about="NIR's equations by Euler's rule, the current before the potential"),
    "exponential": Convention(method="exponential", about="NIR's equations, exact for a drive that holds through the step"),
    "snntorch": Convention(
        reset="subtract after leak",
        dt=0.1,
        about="beta = 1 - dt/tau, reset_delay=True; reset_mechanism='zero' is reset=value, in Synaptic 'value after leak'",
        silent=(
            "reset_mechanism: pass reset=value for 'zero' (in Synaptic: 'value after leak'), reset=none for 'none'",
            "reset_delay=False: pass reset=subtract",
            "graded_spikes_factor: scale the weights behind the layer by it before the export",
            "inhibition=True: a file cannot hold it",
            "the padding of an AvgPool2d: the file says 0",
        ),
    ),
    "norse": Convention(
        tau="seconds x dt",
        synapse="jump",
        charge="jump",
        dt=1.0,
        about="norse 1.1 writes dt / tau_mem_inv, and its inputs step the synaptic current",
        silent=(
            "v_reset: the file says 0",
            "the dt of a cell: the file has that of to_nir(dt=...), in ms the option dt",
        ),
    ),
    "spikingjelly": Convention(
        inclusive=True,
        dt=0.1,
        about="hard reset; a potential on the threshold fires",
        silent=("the dt of export_to_nir(dt=...), 1e-4 s unless named: pass it as dt, in ms",),
    ),
    "sinabs": Convention(
        method="exponential",
        tau="steps",
        membrane="jump",
        synapse="jump then decay",
        charge="jump",
        reset="subtract",
        inclusive=True,
        dt=1.0,
        about="time constants in steps; layers with norm_input=False, spike_fn=SingleSpike, no tau_syn and no lower bound",
    ),
    "rockpool": Convention(
        method="exponential",
        membrane="one",
        synapse="jump then decay",
        charge="jump",
        reset="subtract",
        inclusive=True,
        about="LIFTorch with max_spikes_per_dt=1 and no bias",
        silent=(
            "recurrence (has_rec=True): the file has a layer without its w_rec",
            "the bias of neurons: the file says 0",
            "max_spikes_per_dt: read as 1",
        ),
    ),
    "spyx": Convention(
        membrane="decay",
        synapse="jump",
        charge="jump",
        reset="subtract after leak",
        current_reset="subtract",
        late=True,
        dt=1000.0,
        about="beta = 1 - dt/tau = r; dt is that of to_nir(dt=...), 1 s unless named; LIF, IF and CuBaLIF send a "
        "spike one step late, so that spyx shows an output of these one step later than this network does",
        silent=("layers that to_nir does not know, such as LI and ALIF: it prints a warning and leaves them out",),
    ),
}


def find_convention(name: Any, reset: Any = None) -> Convention:
    """The convention of that name, with another reset for all neurons if one is given.

    Raises InvalidInput for an unknown name or reset.
    """
    if name not in CONVENTIONS:
        raise InvalidInput(f"unknown convention '{name}'; choose from {', '.join(CONVENTIONS)}")
    if reset is None:
        return CONVENTIONS[name]
    return replace(CONVENTIONS[name], reset=check_reset(reset), current_reset=None)


def check_reset(reset: Any) -> Reset:
    """Return a reset. Raises InvalidInput if it is unknown."""
    if reset not in RESETS:
        raise InvalidInput(f"reset={reset}: expected {', '.join(RESETS)}, or a reset for each node by its name")
    found: Reset = reset
    return found
