"""A trial of an imported network: where it is mute or saturated, the convention or dt may not be the writer's."""

import math

import torch

from deploy_snn.importers.nir.neurons import Reading
from deploy_snn.network import Network

STEPS = 60
RATE = 0.3
"""The share of inputs that are 1 in the trial."""
SATURATED = 0.95
LARGEST = 200_000
"""The largest network, in numbers of its states and weights, that is tried: a trial takes less time than the import."""


def activity_notes(network: Network, reading: Reading, name: str) -> list[str]:
    """Say that the network is mute or saturated on random spikes, if it is, and which options decide about it."""
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
    """The share of spikes of each layer that spikes, on random spikes at the inputs."""
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
