"""A trial run of an imported network. If it never fires or always fires, the convention or dt may be wrong."""

import math

import torch

from deploy_snn.importers.nir.neurons import Reading
from deploy_snn.network import Network

STEPS = 60
RATE = 0.3
"""The share of inputs that are 1 in the trial."""
SATURATED = 0.95
LARGEST = 200_000
"""The largest network that is tried, in numbers of states and weights, so that a trial takes less time than the import."""


def activity_notes(network: Network, reading: Reading, name: str) -> list[str]:
    """Return a note if the network never or almost always fires on random spikes, with the options to check."""
    tensors = sum(math.prod(spec.shape(batch=1)) for spec in network.contract.tensors)
    if tensors + sum(buffer.numel() for buffer in network.buffers()) > LARGEST:
        return []
    rates = firing_rates(network)
    if not rates:
        return []
    options = f"check dt={reading.dt:g} ms and convention={name}, which are the writer's to say"
    trial = f"on random spikes ({STEPS} steps, {RATE:.0%} of the inputs)"
    if max(rates.values()) == 0:
        return [f"{trial} no neuron fires: {options}"]
    full = [layer for layer, rate in rates.items() if rate >= SATURATED]
    if full:
        return [f"{trial} the neurons of {', '.join(full)} fire in almost every step: {options}"]
    return []


def firing_rates(network: Network) -> dict[str, float]:
    """The firing rate of each spiking layer, in spikes per step, for random spikes at the inputs."""
    generator = torch.Generator().manual_seed(0)
    state = network.initial_state(1)
    spiking = [name for name, layer in network.layers.items() if not layer.neuron.graded and not layer.external]
    shapes = {spec.name: spec.shape(batch=1) for spec in network.contract.inputs}
    counts = dict.fromkeys(spiking, 0.0)
    with torch.no_grad():
        for _ in range(STEPS):
            inputs = {name: (torch.rand(shape, generator=generator) < RATE).float() for name, shape in shapes.items()}
            outputs, state = network(inputs, state)
            for name in spiking:
                counts[name] += float(outputs[f"{name}.s"].float().mean()) if f"{name}.s" in outputs else 0.0
    return {name: count / STEPS for name, count in counts.items() if f"{name}.s" in outputs}
