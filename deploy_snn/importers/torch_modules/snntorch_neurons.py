"""snnTorch's neurons Leaky and Synaptic (Eshraghian et al. 2023, doi:10.1109/JPROC.2023.3308088).

A potential above the threshold fires. The reset takes place in the next step. "subtract" acts after the leak. "zero" acts
before the leak in Leaky, which equals a reset at once, and after the leak in Synaptic.
"""

from typing import Any

from torch import nn

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.torch_modules.part import Neurons, Part, as_float32, is_step_function
from deploy_snn.neurons import DifferenceCurrentLIFNodes, DifferenceLIFNodes

RESETS = ("subtract", "zero", "none")
STATE_FUNCTIONS = ("_base_sub", "_base_zero", "_base_int")
RECURRENT = ("RLeaky", "RSynaptic", "SLSTM", "SConv2dLSTM")


def part_of(module: nn.Module) -> Part:
    """The part for a module of snnTorch. Raises InvalidInput, without naming the module, if it has no counterpart."""
    name = type(module).__name__
    if name == "Leaky":
        return Neurons(DifferenceLIFNodes, _firing(module, zero_after="spike") | _decay(module))
    if name == "Synaptic":
        alpha = as_float32(module.alpha).clamp(0, 1)  # type: ignore[arg-type]
        options = _firing(module, zero_after="leak") | _decay(module) | {"i_decay": alpha}
        return Neurons(DifferenceCurrentLIFNodes, options)
    reason = "its recurrence has no counterpart" if name in RECURRENT else "it has no counterpart"
    raise InvalidInput(f"{reason}; of snnTorch's neurons, Leaky and Synaptic have")


def _decay(module: Any) -> dict[str, Any]:
    return {"decay": as_float32(module.beta).clamp(0, 1)}


def _firing(module: Any, *, zero_after: str) -> dict[str, Any]:
    if module.inhibition:
        raise InvalidInput("inhibition=True has no counterpart")
    if module.state_quant:
        raise InvalidInput("state_quant has no counterpart")
    if bool((as_float32(module.graded_spikes_factor) != 1).any()):
        raise InvalidInput("graded_spikes_factor is not 1, and graded spikes have no counterpart")
    if not is_step_function(module.spike_grad, inclusive=False):
        raise InvalidInput("the forward of its spike_grad is not the step function, and has no counterpart")
    threshold = as_float32(module.threshold)
    return {"thresh": threshold} | _reset(module, zero_after, negative=bool((threshold < 0).any()))


def _reset(module: Any, zero_after: str, *, negative: bool) -> dict[str, Any]:
    mechanism = int(module.reset_mechanism_val)
    if module.state_function.__name__ != STATE_FUNCTIONS[mechanism]:
        raise InvalidInput("its reset_mechanism was changed after it was built, which snnTorch follows in part only")
    if RESETS[mechanism] == "none":
        raise InvalidInput("reset_mechanism='none' has no counterpart")
    if RESETS[mechanism] == "subtract":
        if not module.reset_delay:
            # snnTorch gives a threshold back to a neuron that stayed above it and then does not fire.
            raise InvalidInput("reset_delay=False with reset_mechanism='subtract' has no counterpart")
        return {"reset_after": "leak"}
    if not module.reset_delay and negative:
        raise InvalidInput("reset_delay=False with a negative threshold has no counterpart")
    return {"reset": 0.0, "reset_after": zero_after if module.reset_delay else "spike"}
