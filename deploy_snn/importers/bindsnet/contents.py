"""Files of torch.save without a BindsNET network: what they contain, and what to do instead."""

from pathlib import Path
from typing import Any

from deploy_snn.importers.advice import BUILD_INSTEAD
from deploy_snn.importers.bindsnet.restricted_pickle import UnknownClass
from deploy_snn.importers.bindsnet.saved import Saved, SavedTensor

TORCH_MODULES = "torch.nn.modules."
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", "network")


def describe(content: Any) -> str:
    """The rest of a sentence that begins with the path, for an object that was read."""
    if isinstance(content, Saved):
        return f"holds a {content.of.name}, and not a network: save the whole network, with network.save(FILE)"
    if isinstance(content, SavedTensor):
        return f"holds one tensor, without the network that it belongs to: {BUILD_INSTEAD}"
    if not isinstance(content, dict):
        return f"holds a {type(content).__name__}, and not a network: save the whole network, with network.save(FILE)"
    if _is_state_dict(content):
        return f"is a state_dict, weights without the network that they belong to: {BUILD_INSTEAD}"
    nested = [key for key, value in content.items() if isinstance(value, dict) and _is_state_dict(value)]
    found = next((key for key in STATE_DICT_KEYS if key in nested), nested[0] if nested else None)
    if found is not None:
        return f"is a checkpoint, whose {found!r} is a state_dict without the network: {BUILD_INSTEAD}"
    return f"holds a dict, and not a network: {BUILD_INSTEAD}"


def describe_unknown(error: UnknownClass, path: Path) -> str:
    """The sentence for a file whose pickle names a class that is unknown, and which so was not read to its end."""
    modules = {name.module for name in error.names}
    if any(module.startswith("bindsnet.") for module in modules):
        return f"{error}: if the class is your own, give the live network to from_bindsnet(network)"
    if any(module.startswith(TORCH_MODULES) for module in modules):
        return (
            f"{path} is a pickled torch module ({error.name}), which cannot be read without running code: {BUILD_INSTEAD}"
        )
    if any(module == "torch._utils" for module in modules):
        return f"{error}: {BUILD_INSTEAD}"
    return str(error)


def _is_state_dict(content: dict[Any, Any]) -> bool:
    return any(isinstance(value, SavedTensor) for value in content.values())
