"""Export of neurons as NIR nodes that compute the same bits under a convention."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir.convention import Floats
from deploy_snn.importers.nir.neurons import Reading
from deploy_snn.network.layer import Layer
from deploy_snn.neurons import (
    AdaptiveLIFNodes,
    BoostedLIFNodes,
    CurrentIntegrator,
    CurrentLIFNodes,
    DelayLine,
    DiehlAndCookNodes,
    DifferenceCurrentLIFNodes,
    DifferenceLIFNodes,
    Heaviside,
    IFNodes,
    Integrator,
    LIFNodes,
    McCullochPitts,
    Nodes,
    SubtractiveResetIFNodes,
)

if TYPE_CHECKING:
    from nir import NIRNode

Form = dict[str, Any]
"""The keywords of a difference equation: decay, rest, gain; i_decay, i_gain; thresh, inclusive, reset, reset_after."""


def node_of(layer: Layer, reading: Reading) -> "NIRNode":
    """The node of a layer. Raises InvalidInput, naming layer and property, for what has no counterpart in NIR."""
    try:
        return _written(layer.neuron, reading)
    except InvalidInput as error:
        raise InvalidInput(f"layer '{layer.name}' ({type(layer.neuron).__name__}): {error}") from None


def _written(neuron: Nodes, reading: Reading) -> "NIRNode":
    for name in ("traces", "sum_input"):
        if getattr(neuron, name):
            raise InvalidInput(f"{name}=True has no counterpart in NIR")
    if type(neuron) not in _NODES:
        raise InvalidInput("this neuron has no counterpart in NIR")
    return _NODES[type(neuron)](neuron, reading)


def _node(kind: str, neuron: Nodes, **values: Floats | float) -> "NIRNode":
    """A node with each parameter expanded to the layer's shape, in float64, which preserves a float32 decay exactly."""
    import nir  # noqa: PLC0415

    cls = getattr(nir, kind)
    return cls(**{name: np.array(np.broadcast_to(value, neuron.shape), np.float64) for name, value in values.items()})


def _exactly(value: Tensor | None, otherwise: float) -> Floats:
    return np.array(otherwise) if value is None else value.double().numpy()


def _refuse_refractory(neuron: Any) -> None:
    if bool((neuron.refrac > 0).any()):
        raise InvalidInput("a refractory period has no counterpart in NIR: it takes refrac=0")
    if getattr(neuron, "lbound", None) is not None:
        raise InvalidInput("a lower bound has no counterpart in NIR: it takes lbound=None")


def _threshold(thresh: Tensor, *, inclusive: bool, reading: Reading) -> Floats:
    """The threshold for the reader's comparison: ``>= x`` is ``>`` the float32 below x."""
    if inclusive and not reading.convention.inclusive:
        thresh = torch.nextafter(thresh, torch.tensor(-torch.inf))
    if reading.convention.inclusive and not inclusive:
        thresh = torch.nextafter(thresh, torch.tensor(torch.inf))
    return thresh.double().numpy()


def _firing(form: Form, reading: Reading) -> dict[str, Floats]:
    reset, late = form["reset"], form.get("reset_after") == "leak"
    how = ("subtract" if reset is None else "value") + (" after leak" if late else "")
    if how != reading.convention.reset:
        raise InvalidInput(
            f"its reset is '{how}', and NIR's goes to v_reset at once"
            if reading.convention.reset == "value"
            else f"its reset is '{how}', and that of the convention '{reading.convention.reset}'"
        )
    inclusive = bool(form["inclusive"])
    if reset is None and inclusive != reading.convention.inclusive:
        raise InvalidInput(
            "it subtracts its threshold, which must so be the threshold itself, but compares differently with it"
        )
    threshold = _threshold(form["thresh"], inclusive=inclusive, reading=reading)
    return {"v_threshold": threshold, "v_reset": _exactly(reset, 0)}


def _inflow(gain: Tensor | None, loss: Floats, how: str) -> Floats:
    """The factor in the file for a gain. Raises InvalidInput if no factor gives this gain."""
    wanted = _exactly(gain, 1)
    if how == "one":
        if (wanted != 1).any():
            raise InvalidInput("its gain is not 1, as the convention has it")
        return np.ones_like(loss)
    if how == "jump":
        return np.broadcast_to(wanted, np.broadcast_shapes(wanted.shape, loss.shape)).copy()
    part = loss if how == "integrated" else 1 - loss
    if ((part == 0) & (wanted != 1)).any():
        raise InvalidInput("without a decay its gain must be 1: NIR's resistance would be infinite")
    with np.errstate(divide="ignore"):
        return wanted / part


def _leak(decay: Tensor | None, reading: Reading) -> tuple[Floats, Floats]:
    """The time constant and the loss of a decay. Raises InvalidInput if no time constant gives exactly this decay."""
    wanted = _exactly(decay, 1)
    if ((wanted < 0) | (wanted > 1)).any():
        raise InvalidInput("its decay is not between 0 and 1, and no time constant gives it")
    loss = 1 - wanted
    tau = reading.convention.tau_of(loss, reading.seconds)
    again = 1 - reading.convention.loss(tau, reading.seconds)
    if (again.astype(np.float32) != wanted.astype(np.float32)).any():
        raise InvalidInput("its decay is so small that no time constant gives it exactly")
    return tau, loss


def _membrane(form: Form, reading: Reading) -> dict[str, Floats]:
    tau, loss = _leak(form["decay"], reading)
    return {"tau": tau, "r": _inflow(form["gain"], loss, reading.convention.membrane), "v_leak": _exactly(form["rest"], 0)}


def _current(form: Form, reading: Reading) -> dict[str, Floats]:
    tau, loss = _leak(form["i_decay"], reading)
    return {"tau_syn": tau, "w_in": _inflow(form["i_gain"], loss, reading.convention.synapse)}


def _charge(form: Form, reading: Reading) -> Floats:
    return _inflow(form["gain"], np.array(reading.seconds), reading.convention.charge)


def _behind_current(membrane: dict[str, Floats]) -> dict[str, Floats]:
    return {("tau_mem" if name == "tau" else name): value for name, value in membrane.items()}


def _firing_node(neuron: Nodes, form: Form, reading: Reading) -> "NIRNode":
    """LIF or IF: the neuron without a current."""
    firing = _firing(form, reading)
    if form["decay"] is not None:
        return _node("LIF", neuron, **firing, **_membrane(form, reading))
    if (_exactly(form["rest"], 0) != firing["v_reset"]).any():
        raise InvalidInput("it has no decay and starts elsewhere than at its reset, as NIR's IF does")
    return _node("IF", neuron, **firing, r=_charge(form, reading))


def _firing_current_node(neuron: Nodes, form: Form, reading: Reading) -> "NIRNode":
    membrane = _behind_current(_membrane(form, reading))
    return _node("CubaLIF", neuron, **_firing(form, reading), **membrane, **_current(form, reading))


def _form(neuron: Any, **more: Any) -> Form:
    """The equation of one of BindsNET's neurons, which fire on the threshold."""
    _refuse_refractory(neuron)
    return {"thresh": neuron.thresh, "inclusive": True, "gain": None} | more


def _lif(neuron: Any, reading: Reading) -> "NIRNode":
    return _firing_node(neuron, _form(neuron, decay=neuron.decay, rest=neuron.rest, reset=neuron.reset), reading)


def _if(neuron: Any, reading: Reading) -> "NIRNode":
    return _firing_node(neuron, _form(neuron, decay=None, rest=neuron.reset, reset=neuron.reset), reading)


def _subtracting(neuron: Any, reading: Reading) -> "NIRNode":
    return _firing_node(neuron, _form(neuron, decay=None, rest=neuron.reset, reset=None), reading)


def _boosted(neuron: Any, reading: Reading) -> "NIRNode":
    return _firing_node(neuron, _form(neuron, decay=neuron.decay, rest=None, reset=torch.zeros(())), reading)


def _current_lif(neuron: Any, reading: Reading) -> "NIRNode":
    form = _form(neuron, decay=neuron.decay, rest=neuron.rest, reset=neuron.reset)
    return _firing_current_node(neuron, form | {"i_decay": neuron.i_decay, "i_gain": None}, reading)


def _adaptive(neuron: Any, reading: Reading) -> "NIRNode":
    if neuron.learning:
        raise InvalidInput("a threshold that adapts has no counterpart in NIR: it takes learning=False")
    form = _form(neuron, decay=neuron.decay, rest=neuron.rest, reset=neuron.reset)
    return _firing_node(neuron, form | {"thresh": neuron.thresh + neuron.theta}, reading)


def _winner(neuron: Any, reading: Reading) -> "NIRNode":
    if neuron.one_spike:
        raise InvalidInput("winner-take-all has no counterpart in NIR: it takes one_spike=False")
    return _adaptive(neuron, reading)


def _step_function(neuron: Any, reading: Reading, *, inclusive: bool) -> "NIRNode":
    return _node("Threshold", neuron, threshold=_threshold(neuron.thresh, inclusive=inclusive, reading=reading))


def _integrator(neuron: Any, reading: Reading) -> "NIRNode":
    form = vars(neuron)["_buffers"]
    if form["decay"] is not None:
        return _node("LI", neuron, **_membrane(form, reading))
    if form["rest"] is not None:
        raise InvalidInput("it has no decay and does not start at 0, as NIR's I does")
    return _node("I", neuron, r=_charge(form, reading))


def _current_integrator(neuron: Any, reading: Reading) -> "NIRNode":
    form = vars(neuron)["_buffers"]
    return _node("CubaLI", neuron, **_behind_current(_membrane(form, reading)), **_current(form, reading))


def _difference(neuron: Any) -> Form:
    return {**vars(neuron)["_buffers"], "inclusive": neuron.inclusive, "reset_after": neuron.reset_after}


_NODES: dict[type[Nodes], Callable[[Any, Reading], "NIRNode"]] = {
    LIFNodes: _lif,
    IFNodes: _if,
    SubtractiveResetIFNodes: _subtracting,
    BoostedLIFNodes: _boosted,
    CurrentLIFNodes: _current_lif,
    AdaptiveLIFNodes: _adaptive,
    DiehlAndCookNodes: _winner,
    McCullochPitts: lambda neuron, reading: _step_function(neuron, reading, inclusive=True),
    Heaviside: lambda neuron, reading: _step_function(neuron, reading, inclusive=False),
    Integrator: _integrator,
    CurrentIntegrator: _current_integrator,
    DifferenceLIFNodes: lambda neuron, reading: _firing_node(neuron, _difference(neuron), reading),
    DifferenceCurrentLIFNodes: lambda neuron, reading: _firing_current_node(neuron, _difference(neuron), reading),
    DelayLine: lambda neuron, _: _node("Delay", neuron, delay=neuron.delay.double().numpy() / 1e3),
}
