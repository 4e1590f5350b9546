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
    """The data of a contract of any version up to ``newest``, as version ``newest``.

    Raises ValueError for a newer version, a version that is not a whole number, and data of version 1 with fields of
    version 2. Whatever else is malformed is left as it is, for the parser to report.
    """
    if not isinstance(raw, dict):
        return raw
    version = raw.get("contract_version", 1)
    if type(version) is not int:
        raise ValueError("contract_version: it is not a whole number")
    if version > newest:
        raise ValueError(
            f"it has contract version {version}, and this deploy_snn reads versions 1 to {newest}: "
            "install a newer deploy_snn"
        )
    if "contract_version" in raw:
        return raw
    upgraded = raw | {"contract_version": newest}
    if isinstance(tensors := raw.get("tensors"), list):
        upgraded["tensors"] = [_tensor(spec, f"tensors.{place}") for place, spec in enumerate(tensors)]
    if isinstance(rounding := raw.get("rounding"), list):
        upgraded["rounding"] = [_rounding(text, f"rounding.{place}") for place, text in enumerate(rounding)]
    return upgraded


def _tensor(spec: Any, place: str) -> Any:
    for field in ("kind", "owner"):
        if isinstance(spec, dict) and field in spec:
            raise ValueError(f"{place}.{field}: contract version 1 has no such field")
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return spec
    qualified = spec["name"].removeprefix(RECORDED) if spec.get("role") == "record" else spec["name"]
    owner, _, leaf = qualified.rpartition(".")
    kind = KINDS.get(leaf, "other") if spec.get("role") == "state" else None
    return spec | {"owner": owner, "kind": kind}


def _rounding(text: Any, place: str) -> Any:
    """``X_to_exc: a dense connection's sum``, ``out: the two exponentials of the spike probability``, or no owner."""
    if not isinstance(text, str):  # a ValueError, as for everything else that is wrong with a file
        raise ValueError(f"{place}: contract version 1 has a string here")  # noqa: TRY004
    owner, _, sentence = text.rpartition(": ")
    if "exponential" in sentence:
        return {"tensor": f"{owner}.s" if owner else "s", "operation": "exp"}
    if "recurrent sum" in sentence:
        return {"tensor": f"{owner}.v" if owner else "v", "operation": "sum"}
    return {"tensor": owner or "s", "operation": "sum"}
