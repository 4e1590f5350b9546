"""``deploy-snn list``: what there is, what is usable here, and why the rest is not."""

from deploy_snn.cli.table import console, table


def list_all() -> None:
    """List neurons, formats, runtimes and stimuli, and which runtimes are usable here."""
    from deploy_snn.formats import FORMATS
    from deploy_snn.neurons import NEURONS
    from deploy_snn.parity import STIMULI
    from deploy_snn.runtimes import RUNTIMES

    out = console()
    abouts = {name: (cls.__doc__ or "").partition("\n")[0].replace("``", "") for name, cls in NEURONS.items()}
    neurons = ((name, cls.__name__, abouts[name]) for name, cls in NEURONS.items())
    out.print(table("Neurons", ["name", "class", "about"], neurons))
    formats = ((name, file.file, file.about) for name, files in FORMATS.items() for file in files)
    out.print(table("Formats", ["name", "file", "about"], formats))
    reasons = {name: runtime.unavailable() for name, runtime in RUNTIMES.items()}
    runtimes = ((name, "no: " + reason if reason else "yes", RUNTIMES[name].about) for name, reason in reasons.items())
    out.print(table("Runtimes", ["name", "usable here", "about"], runtimes))
    out.print(f"Stimuli: {', '.join(STIMULI)}, or the path of a .safetensors file")
