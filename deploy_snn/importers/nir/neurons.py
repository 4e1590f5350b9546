"""Import of NIR's nodes with dynamics as neurons, by a convention."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.convention import GAINS, Convention, Floats, Gain, Reset
from deploy_snn.neurons import (
    CurrentIntegrator,
    DelayLine,
    DifferenceCurrentLIFNodes,
    DifferenceLIFNodes,
    Heaviside,
    Integrator,
    Nodes,
    Relay,
)

if TYPE_CHECKING:
    from nir import NIRNode

Shape = tuple[int, ...]
Options = dict[str, Any]

NEAR = 1e-6
"""The largest difference between a decay and that of a rounded time constant."""

FLOAT32_OF_ONE = 2.0**-23
"""A product of two rounded float32 values this close to 1 counts as 1."""


@dataclass(frozen=True)
class Reading:
    """How a graph is read: a convention, the length of a step in ms, and resets of single nodes by name."""

    convention: Convention
    dt: float
    resets: Mapping[str, Reset] = field(default_factory=dict)

    def of(self, name: str, node: "NIRNode") -> "Reading":
        """How one node is read: with its own reset, if it has one."""
        own = self.convention.current_reset if type(node).__name__ == "CubaLIF" else None
        reset = self.resets.get(name, own)
        return self if reset is None else replace(self, convention=replace(self.convention, reset=reset))

    @property
    def seconds(self) -> float:
        return self.dt / 1e3

    def steps(self, delay: Floats) -> Floats:
        """Convert delays in seconds to whole numbers of steps. Raises InvalidInput for any other delay."""
        exact = delay / self.seconds
        steps = np.round(exact)
        if (delay < 0).any() or (np.abs(exact - steps) > 1e-5 * np.maximum(steps, 1)).any():
            raise InvalidInput(f"delays must be whole numbers of steps of {self.dt:g} ms, and not negative")
        return steps


def numbers(node: "NIRNode", *names: str) -> list[Floats]:
    """Parameters of a node in float64. Raises InvalidInput for NaN and for values that are not numbers."""
    found = []
    for name in names:
        try:
            value = np.asarray(getattr(node, name), np.float64)
        except (TypeError, ValueError):
            raise InvalidInput(f"{name} holds no numbers") from None
        if np.isnan(value).any():
            raise InvalidInput(f"{name} holds NaN")
        found.append(value)
    return found


def parameter_shape(node: "NIRNode") -> Shape:
    """The shape of a node's parameters; () for a number or an array of one element, which applies to all neurons."""
    size = next(np.shape(value) for name, value in vars(node).items() if name in ("r", "threshold", "delay"))
    return () if size == (1,) else tuple(int(n) for n in size)


def neuron_of(node: "NIRNode", shape: Shape, reading: Reading, *, early: int = 0) -> Nodes:
    """The neurons of a node, in a shape. Raises InvalidInput, without naming the node, for what cannot be read.

    ``early`` is the number of steps by which the input of a delay line is already late.
    """
    options = _READ[type(node).__name__](node, reading)
    if early:
        options["delay"] = options["delay"] - early * reading.dt
    own = parameter_shape(node)
    if own:
        try:
            np.broadcast_to(np.empty(own), shape)
        except ValueError:
            raise InvalidInput(f"its parameters are {list(own)}, and what reaches it is {list(shape)}") from None
    cls = CLASSES[type(node).__name__]
    given: Options = {name: _tensor(v) if isinstance(v, np.ndarray) else v for name, v in options.items()}
    return cls(shape=shape, dt=reading.dt, **given)


def relay(shape: Shape, reading: Reading) -> Relay:
    """A relay for an input, an output, or between two linear nodes."""
    return Relay(shape=shape, dt=reading.dt)


def _tensor(value: Floats) -> Tensor:
    """Parameters as float32; one number if all are equal."""
    rounded = torch.from_numpy(_float32(value))
    return rounded.flatten()[0] if (rounded == rounded.flatten()[0]).all() else rounded


def _gain(how: Gain, node: "NIRNode", weight: Floats, loss: Floats) -> Floats | None:
    """The gain of the neuron, which is what an input of 1 adds; None for 1."""
    with np.errstate(invalid="ignore"):
        gain = GAINS[how](weight, loss)
    # A decay of 1 is written as an infinite time constant and an infinite resistance.
    gain = np.where(np.isinf(weight) & (loss == 0), 1.0, gain)
    rounded = any(getattr(value, "dtype", None) == np.float32 for value in vars(node).values())
    ones = (np.abs(gain - 1) <= FLOAT32_OF_ONE) if rounded else _float32(gain) == 1
    gain = np.where(ones, 1.0, gain)
    if not np.isfinite(_float32(gain)).all():
        raise InvalidInput("its resistance and time constant give no finite gain")
    return None if ones.all() else gain


def _unless(value: Floats, neutral: float) -> Floats | None:
    return None if (_float32(value) == neutral).all() else value


def _float32(value: Floats) -> NDArray[np.float32]:
    """Round to float32. Numbers that are too large become infinite."""
    with np.errstate(over="ignore"):
        return value.astype(np.float32)


def _membrane(node: "NIRNode", reading: Reading, tau_name: str) -> Options:
    tau, r, rest = numbers(node, tau_name, "r", "v_leak")
    loss = reading.convention.loss(tau, reading.seconds)
    if reading.convention.membrane == "decay" and hasattr(node, "v_threshold"):
        if (np.abs(1 - loss - r) > NEAR).any():
            raise InvalidInput(
                f"its r is not its decay, {float(np.ravel(1 - loss)[0]):g}: is dt={reading.dt:g} ms right, and the writer?"
            )
        return {"decay": _unless(r, 1), "rest": _unless(rest, 0), "gain": None}
    gain = _gain(reading.convention.membrane, node, r, loss)
    return {"decay": _unless(1 - loss, 1), "rest": _unless(rest, 0), "gain": gain}


def _charge(node: "NIRNode", reading: Reading) -> Options:
    (r,) = numbers(node, "r")
    return {"gain": _gain(reading.convention.charge, node, r, np.full_like(r, reading.seconds))}


def _current(node: "NIRNode", reading: Reading) -> Options:
    tau, w_in = numbers(node, "tau_syn", "w_in")
    loss = reading.convention.loss(tau, reading.seconds)
    return {"i_decay": _unless(1 - loss, 1), "i_gain": _gain(reading.convention.synapse, node, w_in, loss)}


def _firing(node: "NIRNode", reading: Reading) -> Options:
    threshold, reset = numbers(node, "v_threshold", "v_reset")
    convention = reading.convention
    how, late = convention.reset.split(" ")[0], convention.reset.endswith("after leak")
    options: Options = {"thresh": threshold, "inclusive": convention.inclusive, "reset_after": "leak" if late else "spike"}
    if how == "value":
        return options | {"reset": reset}
    if (reset != 0).any():
        raise InvalidInput(f"it has a v_reset, and reset={convention.reset} subtracts the threshold: take reset=value")
    return options


def _read_if(node: "NIRNode", reading: Reading) -> Options:
    firing = _firing(node, reading)
    start = firing.get("reset")
    rest = None if start is None else _unless(start, 0)  # where it starts; without a leak, nothing else comes of it
    return firing | _charge(node, reading) | {"rest": rest}


def _read_lif(node: "NIRNode", reading: Reading) -> Options:
    return _firing(node, reading) | _membrane(node, reading, "tau")


def _read_cuba_lif(node: "NIRNode", reading: Reading) -> Options:
    return _firing(node, reading) | _membrane(node, reading, "tau_mem") | _current(node, reading)


def _read_li(node: "NIRNode", reading: Reading) -> Options:
    return _membrane(node, reading, "tau")


def _read_cuba_li(node: "NIRNode", reading: Reading) -> Options:
    return _membrane(node, reading, "tau_mem") | _current(node, reading)


def _read_threshold(node: "NIRNode", reading: Reading) -> Options:
    (threshold,) = numbers(node, "threshold")
    # On float32 values, over the next number below is the same as on the threshold or over it.
    below = np.nextafter(_float32(threshold), np.float32(-np.inf)).astype(np.float64)
    return {"thresh": below if reading.convention.inclusive else threshold}


def _read_delay(node: "NIRNode", reading: Reading) -> Options:
    (delay,) = numbers(node, "delay")
    return {"delay": reading.steps(delay) * reading.dt}


CLASSES: dict[str, type[Nodes]] = {
    "I": Integrator,
    "IF": DifferenceLIFNodes,
    "LI": Integrator,
    "LIF": DifferenceLIFNodes,
    "CubaLI": CurrentIntegrator,
    "CubaLIF": DifferenceCurrentLIFNodes,
    "Threshold": Heaviside,
    "Delay": DelayLine,
}

_READ: dict[str, Callable[["NIRNode", Reading], Options]] = {
    "I": _charge,
    "IF": _read_if,
    "LI": _read_li,
    "LIF": _read_lif,
    "CubaLI": _read_cuba_li,
    "CubaLIF": _read_cuba_lif,
    "Threshold": _read_threshold,
    "Delay": _read_delay,
}
