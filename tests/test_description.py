"""Descriptions are complete, and the equation of each neuron is what its class computes."""

from typing import Any

import numpy as np
import pytest
import torch

from deploy_snn.description import KINDS, Description, describe
from deploy_snn.errors import InvalidInput
from deploy_snn.registry import GRADED_NEURONS, NEURONS

STEPS = 60
NEURON_NAMES = [*NEURONS, *GRADED_NEURONS]

SPIKING_OPTIONS: dict[str, dict[str, Any]] = {
    "csrm": {"rest": -5.0, "thresh": 8.0, "theta_plus": 0.5},
    "subtractive-reset-if": {"thresh": 9.0, "reset": 0.0},
    "difference-lif": {"thresh": 9.0, "decay": 0.8, "rest": -1.0, "gain": 0.5},
    "difference-current-lif": {"thresh": 9.0, "decay": 0.8, "reset": -2.0, "i_decay": 0.5, "i_gain": 0.7},
    "heaviside": {"thresh": 8.0},
    "mcculloch-pitts": {"thresh": 8.0},
    "delay-line": {"delay": 2.0},
    "izhikevich": {"excitatory": 0.6},
    "srm0": {"thresh": -65.0},
    "integrator": {"decay": 0.9, "rest": 1.0, "gain": 0.5},
    "current-integrator": {"decay": 0.9, "i_decay": 0.5, "i_gain": 2.0},
}
"""Options with which inputs from 0 to 20 cause spikes in some steps. Other classes do so with their defaults."""


def description_of(kind: str, name: str) -> Description:
    [found] = [description for description in describe(name) if description.kind == kind]
    return found


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, registry in KINDS.items() for name in registry])
def test_no_field_is_empty(kind: str, name: str) -> None:
    found = description_of(kind, name)
    assert found.summary
    assert name == "reshape" or found.keywords
    for keyword in found.keywords:
        assert keyword.about.strip(" .")
        assert keyword.unit
        assert keyword.default is None or str(keyword.default)
    if kind != "connection":
        assert found.equation
        assert found.reference
    assert "``" not in found.summary
    assert ":class:" not in str(found.keywords) + found.summary


@pytest.mark.parametrize("name", NEURON_NAMES)
def test_keywords_and_defaults(name: str) -> None:
    """A neuron built with every default given by keyword equals the neuron built without keywords."""
    registry = NEURONS if name in NEURONS else GRADED_NEURONS
    found = description_of(registry.noun, name)
    defaults = {keyword.name: keyword.default for keyword in found.keywords if keyword.name not in ("n", "shape")}
    torch.manual_seed(0)
    bare = registry[name](3)
    torch.manual_seed(0)
    given = registry[name](3, **defaults)
    assert repr(bare) == repr(given)
    assert bare.contract == given.contract
    for (key, expected), (_, actual) in zip(bare.named_buffers(), given.named_buffers(), strict=True):
        assert torch.equal(expected, actual), key


@pytest.mark.parametrize("name", NEURON_NAMES)
def test_equation(name: str) -> None:
    """Each line of the equation, evaluated in double precision from the class's state, gives the class's results."""
    registry = NEURONS if name in NEURONS else GRADED_NEURONS
    torch.manual_seed(1)
    options = SPIKING_OPTIONS.get(name, {})
    neuron = registry[name](5, **options | ({"lbound": -67.0} if name in ("if", "lif", "izhikevich") else {}))
    lines = description_of(registry.noun, name).equation
    keywords = {keyword.name: keyword.default for keyword in description_of(registry.noun, name).keywords} | options
    parameters = {key: value for key, value in keywords.items() if not isinstance(value, bool | str)}
    parameters |= {key: tensor.double().numpy() for key, tensor in neuron.named_buffers() if tensor is not None}
    parameters |= {key: value for key, value in ABSENT.items() if parameters.get(key) is None}
    rng = np.random.default_rng(0)
    state = neuron.initial_state(1)
    [drive, *noises] = neuron.contract.inputs
    spikes = np.zeros(5)
    for _ in range(STEPS):
        x = rng.uniform(-2, 20, drive.shape(batch=1)).astype(np.float32) * (rng.random(drive.shape(batch=1)) < 0.8)
        noise = torch.from_numpy(rng.random((1, 5)).astype(np.float32)) if noises else None
        before = {key: value.double().numpy() for key, value in state.items()}
        names = FUNCTIONS | parameters | {key: value if key == "theta" else value[0] for key, value in before.items()}
        names |= {"x": x[0].astype(np.float64), "noise": None if noise is None else noise[0].double().numpy()}
        for line in lines:
            target, _, expression = line.partition(" = ")
            names[target] = eval(expression, {"__builtins__": {}}, names)
        s, state = neuron(torch.from_numpy(x.astype(np.float32)), state, noise)
        assert np.allclose(names["s"], s[0].numpy(), rtol=1e-5, atol=1e-4)
        for key, value in state.items():
            assert np.allclose(names[key], value.numpy() if key == "theta" else value[0].numpy(), rtol=1e-5, atol=1e-3), key
        spikes += s[0].numpy() != 0
    assert spikes.sum() > 0
    assert spikes.sum() < 5 * STEPS or name in ("relay", "delay-line", "integrator", "current-integrator")


def maximum(a: Any, b: Any = None) -> Any:
    return np.max(a) if b is None else np.maximum(a, b)


def last(values: Any, new: Any) -> Any:
    return np.concatenate([values, np.asarray(new, float)[None]])


FUNCTIONS: dict[str, Any] = {"int": int, "exp": np.exp, "where": np.where, "max": maximum, "append": last}
ABSENT = {"lbound": -np.inf, "decay": 1.0, "i_decay": 1.0, "gain": 1.0, "i_gain": 1.0, "rest": 0.0, "reset": None}


def test_class_names_and_unknown_names() -> None:
    assert description_of("neuron", "LIFNodes") == description_of("neuron", "lif")
    assert {description.kind for description in describe("diehl-and-cook")} == {"neuron", "learning rule"}
    with pytest.raises(InvalidInput, match="did you mean 'lif'"):
        describe("liff")
