"""``deploy-snn list``: the registered names, and which runtimes are usable here."""

from typing import Any

from deploy_snn.cli.json_file import JsonFile, write_json
from deploy_snn.cli.table import console, table
from deploy_snn.registry import CONNECTIONS, FORMATS, GRADED_NEURONS, IMPORTERS, NEURONS, RULES, RUNTIMES, STIMULI

REGISTRIES: dict[str, Any] = {
    "neurons": NEURONS,
    "graded neurons": GRADED_NEURONS,
    "connections": CONNECTIONS,
    "learning rules": RULES,
    "formats": FORMATS,
    "runtimes": RUNTIMES,
    "importers": IMPORTERS,
    "stimuli": STIMULI,
}
WITH_CLASS = ("neurons", "graded neurons", "connections", "learning rules")


def list_all(json_file: JsonFile = None) -> None:
    """List neurons, connections, learning rules, formats, runtimes, importers and stimuli; say which runtimes run here."""
    found = {title: [_record(title, name) for name in registry] for title, registry in REGISTRIES.items()}
    if json_file is not None:
        write_json(json_file, {title.replace(" ", "_"): records for title, records in found.items()})
        return
    out = console()
    for title, records in found.items():
        if title != "stimuli":
            rows = [{key: value for key, value in record.items() if key != "usable"} for record in records]
            out.print(table(title.capitalize(), list(rows[0]), (list(row.values()) for row in rows)))
    stimuli = [record["name"] for record in found["stimuli"]]
    out.print(f"Stimuli: {', '.join([*stimuli, 'threshold', 'golden'])}, or the path of a .safetensors file")


def _record(title: str, name: str) -> dict[str, Any]:
    from deploy_snn.runtimes.find import unavailable_reason

    entry = REGISTRIES[title].entry(name)
    record: dict[str, Any] = {"name": name}
    if title in WITH_CLASS:
        record["class"] = entry.attribute
    if title == "runtimes":
        reason = unavailable_reason(name)
        record |= {"usable": not reason, "usable here": f"no: {reason}" if reason else "yes"}
    return record | {"about": entry.about}
