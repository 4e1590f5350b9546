"""Import of BindsNET's learning rules, with their rates, limits, decay and norm."""

import math
from typing import Any

import torch

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.features import features_of
from deploy_snn.importers.bindsnet.foreign_part import ForeignPart
from deploy_snn.learning import MSTDP, MSTDPET, DiehlAndCook, Hebbian, PostPre, Rmax, Rule, WeightDependentPostPre

LEARNING = "bindsnet.learning.learning"
FEATURE_LEARNING = "bindsnet.learning.MCC_learning"
NO_RULE = "NoOp"

RULES: dict[str, tuple[type[Rule], tuple[str, ...]]] = {
    "PostPre": (PostPre, ()),
    "WeightDependentPostPre": (WeightDependentPostPre, ()),
    "Hebbian": (Hebbian, ()),
    "DiehlAndCook": (DiehlAndCook, ("x_tar",)),
    "MSTDP": (MSTDP, ("tc_plus", "tc_minus")),
    "MSTDPET": (MSTDPET, ("tc_plus", "tc_minus", "tc_e_trace")),
    "Rmax": (Rmax, ("tc_c", "tc_e_trace")),
}
"""For each rule its class here, and the attributes that are keywords of the same name."""

UNREWARDED = ("PostPre", "WeightDependentPostPre", "Hebbian")
IMPORTED = {
    "Connection": tuple(RULES),
    "MulticompartmentConnection": ("PostPre", "Hebbian", "DiehlAndCook", "MSTDP", "MSTDPET"),
    "Conv1dConnection": UNREWARDED,
    "Conv2dConnection": UNREWARDED,
    "Conv3dConnection": UNREWARDED,
    "LocalConnection1D": UNREWARDED,
    "LocalConnection2D": UNREWARDED,
    "LocalConnection3D": UNREWARDED,
}
"""The rules that can be imported for each class of connection."""

ONE_CHANNEL = ("Conv1dConnection", "Conv3dConnection", "LocalConnection1D", "LocalConnection2D", "LocalConnection3D")


def read_rule(connection: ForeignPart, *, learning: bool) -> Rule | None:
    """Import the learning rule of a connection; None if it has none.

    Raises InvalidInput for a rule that cannot be imported, and for one that BindsNET 0.3.4 computes wrongly.
    """
    features = features_of(connection)
    found = [ForeignPart(connection.label, connection.get("update_rule", None))] if not features else []
    found += [ForeignPart(feature.label, feature.get("learning_rule", None)) for feature in features]
    ruled = [index for index, rule in enumerate(found) if rule.thing is not None and rule.kind.name != NO_RULE]
    if not ruled:
        return None
    rule, name = found[ruled[0]], found[ruled[0]].kind.name
    if rule.kind.module not in (LEARNING, FEATURE_LEARNING) or name not in RULES:
        raise rule.refuse(f"this learning rule cannot be imported; choose from {', '.join(RULES)}")
    _check_connection(connection, name)
    options = _options_of_feature(connection, features, rule) if features else _options_of_connection(connection)
    cls, keywords = RULES[name]
    options |= {keyword: rule.number(keyword) for keyword in keywords}
    if issubclass(cls, (MSTDP, MSTDPET)):
        options["zero_lag"] = rule.flag("zero_lag")
    if cls is MSTDP:
        options["feature"] = bool(features)
    if name == "DiehlAndCook" and rule.number("mu") != 1:
        raise rule.refuse(
            f"its mu is {rule.number('mu'):g}; only 1 can be imported, as a power rounds differently elsewhere"
        )
    try:
        made = cls(rule.numbers("nu"), learning=learning, **options)
    except InvalidInput as error:
        raise rule.refuse(str(error)) from None
    kept = rule.get("decay" if features else "weight_decay")
    made.kept = torch.tensor(float(kept), dtype=torch.float32)  # BindsNET multiplies by this factor
    return made


def _check_connection(connection: ForeignPart, rule: str) -> None:
    cls = connection.kind.name
    if rule not in IMPORTED.get(cls, ()):
        rules = ", ".join(IMPORTED.get(cls, ())) or "none"
        raise connection.refuse(f"its learning rule {rule} cannot be imported for this class; these can: {rules}")
    if cls in ONE_CHANNEL and connection.get("source") is not None:
        channels = ForeignPart(connection.label, connection.get("source")).sizes("shape")
        if isinstance(channels, list) and channels[0] > 1:
            raise connection.refuse(
                "it learns from more than one channel, where BindsNET 0.3.4 changes other weights than those that transmit"
            )
    if cls not in ("Connection", "MulticompartmentConnection") and connection.get("norm", None) is not None:
        raise connection.refuse("its norm cannot be imported for this class: set it to None")
    if connection.get("reduction", None) is not None:
        raise connection.refuse("its reduction is code, which is not imported: leave it out, so that the rows are summed")


def _options_of_connection(connection: ForeignPart) -> dict[str, Any]:
    decay = connection.number("weight_decay")
    return {
        "wmin": connection.numbers("wmin"),
        "wmax": connection.numbers("wmax"),
        "weight_decay": decay,
        "norm": _norm(connection, int(connection.weights("w").shape[-1])),
    }


def _norm(part: ForeignPart, n_target: int) -> torch.Tensor | None:
    """The norm. A tensor is kept as one norm for each target, since BindsNET divides tensors and numbers differently."""
    value = part.get("norm", None)
    if value is None:
        return None
    norm = part.numbers("norm")
    return norm.expand(n_target) if isinstance(value, torch.Tensor) and norm.numel() == 1 else norm


def _options_of_feature(connection: ForeignPart, features: list[ForeignPart], rule: ForeignPart) -> dict[str, Any]:
    if len(features) != 1 or features[0].kind.name != "Weight":
        others = ", ".join(feature.kind.name for feature in features)
        raise connection.refuse(f"a learning rule can be imported for one Weight alone, and its features are {others}")
    (feature,) = features
    if connection.flag("manual_update"):
        raise connection.refuse("manual_update: it learns only when code asks it to")
    if feature.get("clamp_frequency", 1) != 1 or rule.get("average_update", 0) or rule.get("continues_update", False):
        raise feature.refuse("its clamp_frequency, average_update and continues_update must have their defaults")
    if feature.flag("enforce_polarity") or rule.flag("enforce_polarity"):
        raise feature.refuse("enforce_polarity: with it, BindsNET 0.3.4 never learns; leave it out")
    smallest, largest = (
        rule.numbers(name) if rule.get(name) is not None else torch.tensor(limit)
        for name, limit in (("min", -math.inf), ("max", math.inf))
    )
    norm = _norm(feature, int(feature.weights("value").shape[-1]))
    if norm is not None and (smallest < 0).any():
        raise feature.refuse("its norm flips the sign of negative weights in BindsNET 0.3.4: give it a range from 0")
    return {"wmin": smallest, "wmax": largest, "weight_decay": 1.0 - float(rule.get("decay")), "norm": norm}
