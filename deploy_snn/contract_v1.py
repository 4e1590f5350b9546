"""Upgrade the data of a version 1 contract to version 2.

Version 1 had no version number, no kinds and no owners, and its ``rounding`` was prose. This file derives the missing
fields from the names and sentences of version 1. No other file parses them.
"""

from typing import Any

KINDS = {
    "v": "potential",
    "i": "current",
    "u": "recovery",
    "refrac_count": "counter",
    "theta": "threshold",
    "trace": "trace",
    "rates": "trace",
    "summed": "sum",
    "previous": "previous",
    "last_spikes": "window",
    "past_drives": "window",
}
RECORDED = "record."


def upgrade_contract(raw: Any, newest: int) -> Any:
    """Upgrade the data of a contract to version ``newest``. Raises ValueError for a version newer than that.

    Malformed data is returned unchanged, so that the parser reports it.
    """
    if not isinstance(raw, dict):
        return raw
    version = raw.get("contract_version", 1)
    if type(version) is int and version > newest:
        raise ValueError(
            f"contract version {version} is too new: this deploy_snn reads versions 1 to {newest}; install a newer one"
        )
    if "contract_version" in raw:
        return raw
    tensors = raw.get("tensors")
    rounding = raw.get("rounding")
    if not isinstance(tensors, list) or not isinstance(rounding, list):
        return raw | {"contract_version": newest}
    return raw | {
        "contract_version": newest,
        "tensors": [_tensor(spec) for spec in tensors],
        "rounding": [_rounding(text) for text in rounding],
    }


def _tensor(spec: Any) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return spec
    qualified = spec["name"].removeprefix(RECORDED) if spec.get("role") == "record" else spec["name"]
    owner, _, leaf = qualified.rpartition(".")
    kind = KINDS.get(leaf, "other") if spec.get("role") == "state" else None
    return {"owner": owner, "kind": kind} | spec


def _rounding(text: Any) -> Any:
    """Parse a sentence such as ``X_to_exc: a dense connection's sum``. The name before the colon may be missing."""
    if not isinstance(text, str):
        return text
    owner, _, sentence = text.rpartition(": ")
    if "exponential" in sentence:
        return {"tensor": f"{owner}.s" if owner else "s", "operation": "exp"}
    if "recurrent sum" in sentence:
        return {"tensor": f"{owner}.v" if owner else "v", "operation": "sum"}
    return {"tensor": owner or "s", "operation": "sum"}
