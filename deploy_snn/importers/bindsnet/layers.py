"""Import of BindsNET's layers: for each class, which attributes become keywords and which become buffers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.foreign_part import ForeignPart
from deploy_snn.neurons import (
    AdaptiveLIFNodes,
    BoostedLIFNodes,
    CSRMNodes,
    CurrentLIFNodes,
    DiehlAndCookNodes,
    IFNodes,
    Input,
    IzhikevichNodes,
    LIFNodes,
    McCullochPitts,
    Nodes,
    SRM0Nodes,
    SubtractiveResetIFNodes,
)

RELAY = "PassThroughNodes"


@dataclass(frozen=True)
class Recipe:
    """How a BindsNET class becomes a deploy_snn neuron.

    ``keywords`` are passed to the constructor under the same name. ``buffers`` replace values that the constructor computes
    or draws. ``fixed`` keywords always have this value. ``check`` returns why a layer cannot be imported exactly, or "".
    """

    cls: type[Nodes]
    keywords: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[ForeignPart], str] = lambda _: ""


def _izhikevich(layer: ForeignPart) -> str:
    """Reject a resting potential over the threshold: our neuron would spike in the first step, and BindsNET's would not."""
    return "it rests over its threshold" if (layer.numbers("rest") >= layer.numbers("thresh")).any() else ""


def _csrm(layer: ForeignPart) -> str:
    return "" if layer.number("dt") == 1 else "BindsNET cannot run it at a dt other than 1"


_REFRACTORY = ("thresh", "reset", "refrac", "lbound")
_LEAKY = (*_REFRACTORY, "rest", "tc_decay")
_ADAPTIVE = (*_LEAKY, "theta_plus", "tc_theta_decay")
_CSRM = ("rest", "thresh", "tau", "reset_const", "tc_decay", "theta_plus", "tc_theta_decay", "lbound")
_WINDOWS = ("res_window_size", "ref_window_size")

LAYERS: dict[str, Recipe] = {
    "Input": Recipe(Input),
    "McCullochPitts": Recipe(McCullochPitts, ("thresh",)),
    "IFNodes": Recipe(IFNodes, _REFRACTORY),
    "LIFNodes": Recipe(LIFNodes, _LEAKY, ("decay",)),
    "BoostedLIFNodes": Recipe(BoostedLIFNodes, ("thresh", "refrac", "tc_decay"), ("decay",)),
    "CurrentLIFNodes": Recipe(CurrentLIFNodes, (*_LEAKY, "tc_i_decay"), ("decay", "i_decay")),
    "AdaptiveLIFNodes": Recipe(AdaptiveLIFNodes, _ADAPTIVE, ("decay", "theta_decay", "theta")),
    "DiehlAndCookNodes": Recipe(DiehlAndCookNodes, _ADAPTIVE, ("decay", "theta_decay", "theta"), words=("one_spike",)),
    "IzhikevichNodes": Recipe(
        IzhikevichNodes,
        ("rest", "thresh", "lbound"),
        ("a", "b", "c", "d", "S"),
        fixed={"spike_at": "end"},
        check=_izhikevich,
    ),
    "CSRMNodes": Recipe(
        CSRMNodes,
        (*_CSRM, *_WINDOWS),
        ("decay", "theta_decay", "theta", "resKernel", "refKernel"),
        words=("responseKernel", "refractoryKernel"),
        check=_csrm,
    ),
    "SRM0Nodes": Recipe(SRM0Nodes, (*_LEAKY, "eps_0", "rho_0", "d_thresh"), ("decay",)),
    "SubtractiveResetIFNodes": Recipe(SubtractiveResetIFNodes, _REFRACTORY),
    # Its input is always the output of a pooling, and so already a spike: 0.0 or 1.0.
    RELAY: Recipe(McCullochPitts, fixed={"thresh": 1.0}),
}


def read_layer(
    layer: ForeignPart, dt: float, *, learning: bool | None, traces: bool = False, probability: bool = False
) -> Nodes:
    """Import the neurons of a layer. Raises InvalidInput for a class that is unknown, and options that change the spikes.

    ``learning`` overrides the layer's own flag unless it is None. ``traces`` and ``probability`` say whether a learning
    rule reads the spike trace or the spike probability of the layer.
    """
    recipe = LAYERS.get(layer.kind.name)
    if recipe is None or not layer.kind.module.startswith("bindsnet."):
        raise layer.refuse(f"this class cannot be imported; choose from {', '.join(LAYERS)}")
    if layer.kind.name != RELAY and layer.number("dt") != float(torch.tensor(dt)):
        raise layer.refuse(f"its dt is {layer.number('dt')}, and the network's {dt}")
    problem = recipe.check(layer)
    if problem:
        raise layer.refuse(problem)
    options: dict[str, Any] = {name: layer.get(name) for name in recipe.words} | dict(recipe.fixed)
    for name in recipe.keywords:
        if name != "lbound" or layer.get(name) is not None:
            options[name] = layer.number(name) if name in _WINDOWS else layer.numbers(name)
    sizes = layer.sizes("shape")
    shape = sizes if isinstance(sizes, list) else [sizes]
    options["sum_input"] = layer.kind.name != RELAY and layer.flag("sum_input")
    options["learning"] = layer.flag("learning", default=True) if learning is None else learning
    if traces and layer.flag("traces"):
        options |= {"traces": True, "traces_additive": layer.flag("traces_additive")}
        options |= {name: layer.numbers(name) for name in ("tc_trace", "trace_scale")}
    if probability and recipe.cls is SRM0Nodes:
        options["probability"] = True
    try:
        neuron = recipe.cls(shape=shape, dt=dt, **options)
    except InvalidInput as error:
        raise layer.refuse(str(error)) from None
    for name in (*recipe.buffers, *(("trace_decay",) if neuron.traces else ())):
        _put(neuron, layer, name)
    return neuron


def _put(neuron: Nodes, layer: ForeignPart, name: str) -> None:
    """Copy an attribute of the layer into the neuron's buffer of the same name."""
    value, own = layer.numbers(name), neuron.get_buffer(name)
    if value.numel() == own.numel():
        value = value.reshape(own.shape)
    elif value.dim() and list(value.shape) != list(neuron.shape):
        raise layer.refuse(f"its {name} is {list(value.shape)}, expected {list(own.shape)}")
    if not torch.equal(value, own):
        setattr(neuron, name, value)
