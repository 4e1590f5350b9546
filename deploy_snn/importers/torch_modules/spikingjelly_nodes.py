"""SpikingJelly's IFNode and LIFNode, and its layers (Fang et al. 2023, doi:10.1126/sciadv.adi1480).

A potential equal to the threshold fires, and is reset at once: to ``v_reset``, or by subtraction if that is None. Both
nodes start at ``v_reset``, and a LIFNode leaks towards it.
"""

from typing import Any

from torch import nn

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.torch_modules.part import Dropped, Neurons, Part, is_step_function
from deploy_snn.importers.torch_modules.torch_layers import layer_part
from deploy_snn.neurons import DifferenceLIFNodes

LAYERS = (
    *("Linear", "Conv1d", "Conv2d", "Conv3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool2d", "Flatten"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
)
"""The classes of ``activation_based.layer`` that equal torch's class of the same name, with a step mode."""
DROPOUTS = ("Dropout", "Dropout2d")


def part_of(module: nn.Module) -> Part:
    """The part for a module of SpikingJelly. Raises InvalidInput, without naming the module, if it has no counterpart."""
    cls = type(module)
    if ".layer." in f"{cls.__module__}." and cls.__name__ in LAYERS:
        return layer_part(module, getattr(nn, cls.__name__))
    if ".layer." in f"{cls.__module__}." and cls.__name__ in DROPOUTS:
        if module.training:
            raise InvalidInput("it is in training mode: call eval() on the model first")
        return Dropped("it drops nothing in eval mode")
    if cls.__name__ == "IFNode":
        return Neurons(DifferenceLIFNodes, _firing(module))
    if cls.__name__ == "LIFNode":
        return Neurons(DifferenceLIFNodes, _firing(module) | _leak(module))
    raise InvalidInput("it has no counterpart; of SpikingJelly's neurons, IFNode and LIFNode have")


def _firing(module: Any) -> dict[str, Any]:
    if getattr(module, "_neuron_precision", None) is not None:
        raise InvalidInput("a neuron precision of its own has no counterpart")
    if not is_step_function(module.surrogate_function, inclusive=True):
        raise InvalidInput("the forward of its surrogate_function is not the step function: is its spiking False?")
    return {"thresh": module.v_threshold, "inclusive": True, "reset": module.v_reset, "rest": module.v_reset or None}


def _leak(module: Any) -> dict[str, Any]:
    loss = 1 / float(module.tau)
    return {"decay": 1 - loss, "gain": loss if module.decay_input else None}
