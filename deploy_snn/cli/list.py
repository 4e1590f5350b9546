"""``deploy-snn list``: the registered names, and which runtimes are usable here."""

from deploy_snn.cli.table import console, table
from deploy_snn.registry import FORMATS, IMPORTERS, NEURONS, RULES, RUNTIMES, STIMULI


def list_all() -> None:
    """List neurons, learning rules, formats, runtimes, importers and stimuli, and which runtimes are usable here."""
    from deploy_snn.runtimes.find import unavailable_reason

    out = console()
    neurons = ((name, entry.attribute, entry.about) for name, entry in NEURONS.entries.items())
    out.print(table("Neurons", ["name", "class", "about"], neurons))
    rules = ((name, entry.attribute, entry.about) for name, entry in RULES.entries.items())
    out.print(table("Learning rules", ["name", "class", "about"], rules))
    out.print(table("Formats", ["name", "about"], ((name, entry.about) for name, entry in FORMATS.entries.items())))
    reasons = {name: unavailable_reason(name) for name in RUNTIMES}
    runtimes = (
        (name, "no: " + reason if reason else "yes", RUNTIMES.entry(name).about) for name, reason in reasons.items()
    )
    out.print(table("Runtimes", ["name", "usable here", "about"], runtimes))
    out.print(table("Importers", ["name", "about"], ((name, entry.about) for name, entry in IMPORTERS.entries.items())))
    out.print(f"Stimuli: {', '.join([*STIMULI, 'threshold', 'golden'])}, or the path of a .safetensors file")
