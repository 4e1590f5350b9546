"""The difference equations give the same bits as plain loops over neurons and steps."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_snn.neurons import (
    CurrentIntegrator,
    DelayLine,
    DifferenceCurrentLIFNodes,
    DifferenceLIFNodes,
    Heaviside,
    Integrator,
    Nodes,
    Relay,
)

STEPS, N = 40, 5
F = np.float32
MAYBE = st.none() | st.lists(st.floats(0, 1, width=32), min_size=N, max_size=N)
MEMBRANE = {"decay": MAYBE, "rest": MAYBE, "gain": MAYBE}
CURRENT = {"i_decay": MAYBE, "i_gain": MAYBE}
FIRING = {
    "thresh": st.lists(st.floats(0.5, 2, width=32), min_size=N, max_size=N),
    "inclusive": st.booleans(),
    "reset": MAYBE,
    "reset_after": st.sampled_from(["spike", "leak"]),
}


def loop(options: dict[str, Any], drives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step each neuron alone, in float32. Return outputs and potentials after each step."""

    def parameter(name: str, neuron: int, default: float) -> np.float32:
        values = options.get(name)
        return F(default if values is None else values[neuron])

    sent, potentials = np.zeros((STEPS, N), F), np.zeros((STEPS, N), F)
    for j in range(N):
        rest, thresh = parameter("rest", j, 0), parameter("thresh", j, 0)
        v, i = rest, F(0)
        fired = bool(
            v > thresh or (options.get("inclusive") and v == thresh)
        )  # an initial potential above the threshold counts as a spike
        for t in range(STEPS):
            x = drives[t, j]
            if "i_decay" in options:
                x = i = parameter("i_decay", j, 1) * i + parameter("i_gain", j, 1) * x
            if options.get("decay") is not None:
                v = parameter("decay", j, 1) * (v - rest) + rest
            v = v + parameter("gain", j, 1) * x
            if "thresh" not in options:
                sent[t, j] = potentials[t, j] = v
                continue
            after_reset = v - thresh if options["reset"] is None else parameter("reset", j, 0)
            if fired and options["reset_after"] == "leak":
                v = after_reset
            fired = bool(v >= thresh if options["inclusive"] else v > thresh)
            if fired and options["reset_after"] == "spike":
                v = v - thresh if options["reset"] is None else parameter("reset", j, 0)
            sent[t, j], potentials[t, j] = fired, v
    return sent, potentials


def build_neuron(cls: type[Nodes], options: dict[str, Any]) -> Nodes:
    return cls(n=N, **{key: torch.tensor(value) if isinstance(value, list) else value for key, value in options.items()})


@pytest.mark.parametrize(
    ("cls", "keywords"),
    [
        (Integrator, MEMBRANE),
        (CurrentIntegrator, MEMBRANE | CURRENT),
        (DifferenceLIFNodes, MEMBRANE | FIRING),
        (DifferenceCurrentLIFNodes, MEMBRANE | CURRENT | FIRING),
    ],
)
def test_steps_are_bit_equal_to_plain_loops(cls: type[Nodes], keywords: dict[str, Any]) -> None:
    spikes = []

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.fixed_dictionaries(keywords), st.integers(0, 1000))
    def compare(options: dict[str, Any], seed: int) -> None:
        # On a coarse grid, some potentials equal the threshold.
        drives = np.random.default_rng(seed).integers(-4, 9, (STEPS, N)).astype(F) / F(4)
        sent, potentials = loop(options, drives)
        neuron = build_neuron(cls, options)
        state = neuron.initial_state(1)
        for t in range(STEPS):
            s, state = neuron(torch.from_numpy(drives[t : t + 1]), state)
            np.testing.assert_array_equal(s[0].float().numpy(), sent[t])
            np.testing.assert_array_equal(state["v"][0].numpy(), potentials[t])
        spikes.append(sent.mean())

    compare()
    assert np.mean(spikes) > 0.05


@pytest.mark.parametrize(("inclusive", "fires"), [(False, False), (True, True)])
def test_potential_equal_to_the_threshold(inclusive: bool, fires: bool) -> None:
    lif = DifferenceLIFNodes(1, thresh=0.5, inclusive=inclusive)
    assert bool(lif(torch.full((1, 1), 0.5), lif.initial_state(1))[0]) is fires
    just_over = torch.nextafter(torch.full((1, 1), 0.5), torch.tensor(1.0))
    assert bool(lif(just_over, lif.initial_state(1))[0])


def test_heaviside_fires_only_above_its_threshold() -> None:
    x = torch.tensor([[0.5, 0.5000001, -1.0, 7.0]])
    assert Heaviside(4, thresh=0.5)(x, {})[0].tolist() == [[False, True, False, True]]


def test_relay_and_delay_line_output_their_drive() -> None:
    x = torch.randn(20, 2, 3)
    assert torch.equal(Relay(3)(x[0], {})[0], x[0])
    line = DelayLine(3, delay=torch.tensor([0.0, 1.5, 2.0]), dt=0.5)
    assert line.window == 5
    padded = torch.cat([torch.zeros(4, 2, 3), x])
    for step in range(20):
        late, _ = line(padded[step : step + 5].transpose(0, 1), {})
        wanted = torch.stack([padded[step + 4 - delay, :, j] for j, delay in enumerate((0, 3, 4))], 1)
        assert torch.equal(late, wanted)


def test_graded_neurons_output_numbers() -> None:
    contract = Integrator(3).contract
    (sent,) = contract.outputs
    assert (sent.name, sent.dtype, sent.role) == ("s", "float32", "record")
