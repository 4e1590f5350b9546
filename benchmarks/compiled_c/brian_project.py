"""Write a Brian2 model as a C++ standalone project. ``brian.py`` runs this in Brian2's own environment.

``python brian_project.py MODEL GIVEN.npz FOLDER``

The equations are those of our neurons, step by step, and not differential equations, because only so are the spikes the
same: a spike reaches its targets in the next step, and a drive that arrives in the refractory period is lost. Numbers are
float32; flags, preferences and data structures are Brian2's defaults. The spikes of the recorded groups are monitored.
"""

import sys
from collections.abc import Callable
from typing import Any

import brian2 as b
import numpy as np

Given = Any
SYNAPTIC = "v : 1\ncount : 1\ndrive : 1"
LIF = "v = decay * (v - rest) + rest + drive * int(count <= 0)\ncount -= 1\ndrive = 0"


def lif(given: Given) -> None:
    """LIF neurons with a drive for each neuron and step."""
    x = b.TimedArray(given["x"], dt=b.ms)
    neurons = b.NeuronGroup(
        given["x"].shape[1],
        "v : 1\ncount : 1",
        threshold="v >= -52",
        reset="v = -65\ncount = 5",
        namespace={"decay": float(given["decay"]), "x": x},
    )
    neurons.run_regularly("v = decay * (v + 65) - 65 + x(t, i) * int(count <= 0)\ncount -= 1", when="groups")
    neurons.v = -65
    run(given, neurons, b.SpikeMonitor(neurons, name="s"))


def diehl_cook(given: Given) -> None:
    """Diehl & Cook's network, in which each neuron over the threshold spikes: there is no choice of one winner."""
    n_input, n = given["w"].shape
    source = generator(given, n_input)
    layers = {}
    for name, thresh, rest, reset, refrac in (("exc", -52, -65, -60, 5), ("inh", -40, -60, -45, 2)):
        namespace = {"decay": float(given[f"{name}_decay"]), "rest": rest}
        resetting = f"v = {reset}\ncount = {refrac}"
        group = b.NeuronGroup(n, SYNAPTIC, threshold=f"v >= {thresh}", reset=resetting, namespace=namespace)
        group.run_regularly(LIF, when="groups")
        group.v = rest
        layers[name] = group
    exc, inh = layers["exc"], layers["inh"]
    feed = b.Synapses(source, exc, "w : 1", on_pre="drive_post += w")
    feed.connect()
    feed.w = given["w"].ravel()
    excite = b.Synapses(exc, inh, on_pre="drive_post += 22.5")
    excite.connect(j="i")
    inhibit = b.Synapses(inh, exc, on_pre="drive_post -= 17.5")
    inhibit.connect(condition="i != j")
    monitors = [b.SpikeMonitor(group, name=f"{name}_s") for name, group in layers.items()]
    run(given, source, exc, inh, feed, excite, inhibit, *monitors)


def izhikevich(given: Given) -> None:
    """Izhikevich's thousand neurons with all weights between them."""
    x = b.TimedArray(given["x"], dt=b.ms)
    half = "v += 0.5 * (0.04 * v * v + 5 * v + 140 - u + drive)\n"
    neurons = b.NeuronGroup(
        given["x"].shape[1],
        "v : 1\nu : 1\ndrive : 1\na : 1\nb : 1\nc : 1\nd : 1",
        threshold="v >= 30",
        reset="v = c\nu += d",
        namespace={"x": x},
    )
    # Brian2 compares, delivers and resets at the start of a step, as our neuron does; then the equations follow.
    neurons.run_regularly(f"drive += x(t, i)\n{half}{half}u += a * (b * v - u)\ndrive = 0", when="end")
    for name in "abcd":
        setattr(neurons, name, given[name])
    neurons.v = -65
    neurons.u = given["b"] * np.float32(-65)
    synapses = b.Synapses(neurons, neurons, "w : 1", on_pre="drive_post += w")
    synapses.connect()
    synapses.w = given["S"].T.ravel()
    run(given, neurons, synapses, b.SpikeMonitor(neurons, name="cortex_s"))


def sparse(given: Given) -> None:
    """Many LIF neurons with a few synapses each."""
    source = generator(given, int(given["inputs"]))
    namespace = {"decay": float(given["decay"]), "rest": -65}
    neurons = b.NeuronGroup(
        int(given["neurons"]), SYNAPTIC, threshold="v >= -52", reset="v = -65\ncount = 5", namespace=namespace
    )
    neurons.run_regularly(LIF, when="groups")
    neurons.v = -65
    parts = []
    for name, group in (("feed", source), ("recur", neurons)):
        synapses = b.Synapses(group, neurons, "w : 1", on_pre="drive_post += w")
        synapses.connect(i=given[f"{name}_i"], j=given[f"{name}_j"])
        synapses.w = given[f"{name}_w"]
        parts.append(synapses)
    run(given, source, neurons, *parts, b.SpikeMonitor(neurons, name="pool_s"))


def generator(given: Given, n: int) -> Any:
    """The input spikes, as a list.

    The list is made longer with spikes after the end of the run, which never occur: the C++ has the length in it, so that
    it is the same for each input.
    """
    steps, index = given["input_t"], given["input_i"]
    spare = int(given["input_room"]) - len(steps)
    steps = np.concatenate([steps, int(given["steps"]) + 1 + np.arange(spare)])
    index = np.concatenate([index, np.zeros(spare, index.dtype)])
    return b.SpikeGeneratorGroup(n, index, steps * b.ms)


def run(given: Given, *parts: Any) -> None:
    b.Network(*parts).run(int(given["steps"]) * b.ms)


MODELS: dict[str, Callable[[Given], None]] = {f.__name__: f for f in (lif, diehl_cook, izhikevich, sparse)}


def main() -> None:
    model, given, folder = sys.argv[1:]
    b.prefs.core.default_float_dtype = np.float32
    b.set_device("cpp_standalone", directory=folder, build_on_run=False)
    b.defaultclock.dt = b.ms
    MODELS[model](np.load(given))
    b.device.build(directory=folder, compile=False, run=False, with_output=False)


if __name__ == "__main__":
    main()
