"""Parameters as buffers: names, types, defaults, loading, and the random parameters of Izhikevich neurons."""

import math

import pytest
import torch
from torch import Tensor

from deploy_snn.neurons import (
    NEURONS,
    CSRMNodes,
    DiehlAndCookNodes,
    IFNodes,
    Input,
    IzhikevichNodes,
    LIFNodes,
    Nodes,
    keywords,
)

BASE = {"n", "shape", "traces", "traces_additive", "tc_trace", "trace_scale", "sum_input", "learning", "dt"}
IF = {"thresh": -52, "reset": -65, "refrac": 5, "lbound": None}
LIF = IF | {"rest": -65, "tc_decay": 100}
ADAPTIVE = LIF | {"theta_plus": 0.05, "tc_theta_decay": 1e7}
DIFFERENCE = {"thresh": 1, "reset": None, "decay": None, "rest": None, "gain": None}
DEFAULTS: dict[str, dict[str, float | None]] = {  # the table of NEURONS.md, and our own classes
    "input": {},
    "mcculloch-pitts": {"thresh": 1},
    "if": IF,
    "lif": LIF,
    "boosted-lif": {"thresh": 13, "refrac": 5, "tc_decay": 100},
    "current-lif": LIF | {"tc_i_decay": 2},
    "adaptive-lif": ADAPTIVE,
    "diehl-and-cook": ADAPTIVE,
    "izhikevich": {"thresh": 45, "rest": -65, "lbound": None},
    "csrm": {"rest": -65, "thresh": -52, "tau": 1, "reset_const": 50, "tc_decay": 100, "theta_plus": 0.05}
    | {"tc_theta_decay": 1e7, "lbound": None},
    "heaviside": {"thresh": 1},
    "difference-lif": DIFFERENCE,
    "difference-current-lif": DIFFERENCE | {"i_decay": None, "i_gain": None},
    "srm0": LIF | {"thresh": -50, "rest": -70, "reset": -70, "tc_decay": 10, "eps_0": 1, "rho_0": 1, "d_thresh": 5},
    "subtractive-reset-if": IF,
}
OTHER_KEYWORDS = {
    "difference-lif": {"inclusive", "reset_after"},
    "difference-current-lif": {"inclusive", "reset_after"},
    "diehl-and-cook": {"one_spike"},
    "izhikevich": {"excitatory", "spike_at"},
    "csrm": {"responseKernel", "refractoryKernel", "res_window_size", "ref_window_size"},
    "srm0": {"probability"},
}
STARTS = {"if": {"v": "reset"}, "subtractive-reset-if": {"v": "reset"}, "boosted-lif": {"v": None}}
STARTS |= {"difference-lif": {"v": None}, "difference-current-lif": {"v": None}}


@pytest.mark.parametrize("name", DEFAULTS)
def test_keywords_and_defaults(name: str) -> None:
    cls, defaults = NEURONS[name], DEFAULTS[name]
    assert set(keywords(cls)) == BASE | set(defaults) | OTHER_KEYWORDS.get(name, set())
    neuron = cls(4)
    for key, value in (defaults | {"tc_trace": 20, "trace_scale": 1, "dt": 1}).items():
        held = getattr(neuron, key)
        assert held is None if value is None else torch.equal(held, torch.tensor(float(value))), key
    assert (neuron.traces, neuron.traces_additive, neuron.sum_input, neuron.learning) == (False, False, False, True)
    for key, value in neuron.initial_state(2).items():
        start = STARTS.get(name, {"v": "rest"}).get(key)
        if key != "u":
            assert (value == (0.0 if start is None else defaults[start])).all(), key


@pytest.mark.parametrize("name", DEFAULTS)
def test_parameters_given_as_ints_are_float32_buffers(name: str) -> None:
    ints = dict.fromkeys([*DEFAULTS[name], "tc_trace", "trace_scale", "dt"], 3)
    neuron = NEURONS[name](4, **ints)
    buffers = dict(neuron.named_buffers())
    assert all(buffers[key].dtype == torch.float32 and buffers[key] == 3 for key in ints)
    decays = {"tc_trace": "trace_decay", "tc_decay": "decay", "tc_theta_decay": "theta_decay", "tc_i_decay": "i_decay"}
    for decay in (decays[key] for key in ints if key in decays):
        assert torch.equal(buffers[decay], torch.exp(torch.tensor(-1.0)))  # dt / tc = 3 / 3
    kept = neuron.state_dict()
    assert all(value.dtype == torch.float32 for value in kept.values())
    assert set(ints) <= kept.keys()


def response(neuron: Nodes, steps: int = 60) -> list[Tensor]:
    """Return the spikes and last states for a fixed strong drive."""
    torch.manual_seed(11)
    specs = neuron.contract.inputs
    state, seen = neuron.initial_state(2), []
    for _ in range(steps):
        x = torch.randn(specs[0].shape(batch=2)) * 4 + 3
        s, state = neuron(x, state, torch.rand(2, *neuron.shape) if neuron.stochastic else None)
        seen.append(s)
    return [torch.stack(seen), *state.values()]


CHANGED = {  # a changed value for every parameter
    "thresh": 1.0,
    "rest": 2.0,
    "reset": 3.0,
    "refrac": 1.0,
    "lbound": 0.0,
    "tc_decay": 4.0,
    "tc_i_decay": 7.0,
    "theta_plus": 3.0,
    "tc_theta_decay": 15.0,
    "tau": 3.0,
    "reset_const": 2.0,
    "eps_0": 3.0,
    "rho_0": 0.25,
    "d_thresh": 1.5,
    "decay": 0.5,
    "gain": 3.0,
    "i_decay": 0.25,
    "i_gain": 2.0,
    "tc_trace": 3.0,
    "trace_scale": 4.0,
    "dt": 0.5,
}
EASY = {"thresh": 6.0, "rest": 0.0, "reset": -1.0, "refrac": 3.0, "lbound": -2.0}
EASY |= {"decay": 0.9, "gain": 1.5, "i_decay": 0.75, "i_gain": 0.5}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name, defaults in DEFAULTS.items()
        for key in [*defaults, "tc_trace", "trace_scale", "dt"]
        if (name, key) != ("csrm", "dt")  # the steps of a window are a shape, which a state_dict cannot change
    ],
)
def test_loaded_parameter_takes_effect(name: str, key: str) -> None:
    easy = {own: value for own, value in EASY.items() if own in DEFAULTS[name]} | {"traces": True, "traces_additive": True}
    if name == "csrm":
        easy |= {"res_window_size": 4, "ref_window_size": 4}
    torch.manual_seed(5)
    neuron = NEURONS[name](4, **easy)
    torch.manual_seed(5)
    other = NEURONS[name](4, **easy | {key: CHANGED[key]})
    before, wanted = response(neuron), response(other)
    neuron.load_state_dict(other.state_dict())
    after = response(neuron)
    assert all(torch.equal(a, b) for a, b in zip(after, wanted, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True)), (
        "the parameter has no effect with this drive"
    )


def test_a_loaded_theta_is_the_initial_theta() -> None:
    neuron = DiehlAndCookNodes(3)
    neuron.load_state_dict(neuron.state_dict() | {"theta": torch.tensor([1.0, 2.0, 3.0])})
    assert neuron.initial_state(2)["theta"].tolist() == [1.0, 2.0, 3.0]
    neuron.learning = False
    x, state = torch.full((1, 3), 14.5), neuron.initial_state(1)
    assert neuron(x, state, torch.rand(1, 3))[0].tolist() == [[True, False, False]]  # -52 + theta is -51, -50, -49


@pytest.mark.parametrize("key", ["thresh", "reset", "refrac", "lbound", "trace_scale"])
def test_a_tensor_given_as_a_parameter_is_not_aliased(key: str) -> None:
    given = torch.full((4,), -60.0)
    neuron = LIFNodes(4, **{key: given})
    given.fill_(99)
    assert (getattr(neuron, key) == -60).all()
    neuron.get_buffer(key).fill_(7)
    assert (given == 99).all()


@pytest.mark.parametrize("key", ["reset", "refrac", "lbound", "thresh"])
@pytest.mark.parametrize("cls", [IFNodes, LIFNodes])
def test_parameters_per_neuron(cls: type[Nodes], key: str) -> None:
    """One value per neuron acts as in single neurons. BindsNET supports only one value, so it is no oracle here."""
    values = {"reset": [0.0, -1.0, 2.0], "refrac": [0.0, 2.0, 5.0], "lbound": [-3.0, 1.0, -1.0], "thresh": [3.0, 6.0, 9.0]}[
        key
    ]
    easy = {"thresh": 6.0, "reset": 0.0, "refrac": 1.0} | ({"rest": 0.0} if cls is LIFNodes else {})
    torch.manual_seed(8)
    x = torch.randn(100, 2, 3) * 4 + 2
    together = cls(3, **easy | {key: torch.tensor(values)})
    state = together.initial_state(2)
    alone = [cls(1, **easy | {key: value}) for value in values]
    states = [neuron.initial_state(2) for neuron in alone]
    for now in x:
        s, state = together(now, state)
        for i, neuron in enumerate(alone):
            mine, states[i] = neuron(now[:, i : i + 1], states[i])
            assert torch.equal(s[:, i : i + 1], mine)
            assert all(torch.equal(state[name][:, i : i + 1], value) for name, value in states[i].items())


def test_input_neurons_spike_where_x_is_not_zero() -> None:
    neuron = Input(5)
    assert neuron(torch.tensor([[0.0, -0.0, 1.0, -2.0, 1e-45]]), {})[0].tolist() == [[False, False, True, True, True]]


@pytest.mark.parametrize(
    ("name", "silent"),
    # CurrentLIF decrements its counter before the current is added.
    [("if", 3), ("lif", 3), ("boosted-lif", 3), ("current-lif", 2), ("adaptive-lif", 3), ("diehl-and-cook", 3)],
)
def test_refractory_period_is_in_ms(name: str, silent: int) -> None:
    """A refractory period of 1.5 ms at dt = 0.5 ms is three steps without input."""
    neuron = NEURONS[name](1, refrac=1.5, dt=0.5)
    state, fired = neuron.initial_state(1), []
    for _ in range(9):
        s, state = neuron(torch.full((1, 1), 90.0), state, torch.zeros(1, 1) if neuron.stochastic else None)
        fired.append(bool(s))
    assert fired == [step % (silent + 1) == 0 for step in range(9)]


@pytest.mark.parametrize(
    ("fraction", "excitatory"), [(1, 1000), (0.8, 800), (0.29, 290), (0.0017, 1), (0, 0), (3, 1000), (-1, 0)]
)
def test_random_parameters_of_izhikevich(fraction: float, excitatory: int) -> None:
    torch.manual_seed(21)
    n = 1000
    neuron = IzhikevichNodes(n, excitatory=fraction)
    a, b, c, d = (getattr(neuron, key).double() for key in "abcd")
    near = {"rtol": 0, "atol": 1e-5}
    first, rest = slice(None, excitatory), slice(excitatory, None)
    torch.testing.assert_close(a[first], torch.full_like(a[first], 0.02), **near)
    torch.testing.assert_close(b[first], torch.full_like(b[first], 0.2), **near)
    square = (c[first] + 65) / 15
    torch.testing.assert_close(d[first], 8 - 6 * square, **near)
    drawn = (a[rest] - 0.02) / 0.08
    torch.testing.assert_close(b[rest], 0.25 - 0.05 * drawn, **near)
    assert (c[rest] == -65).all()
    assert (d[rest] == 2).all()
    for uniform in (square.clamp(min=0).sqrt(), drawn, 2 * neuron.S[:, first].flatten(), -neuron.S[:, rest].flatten()):
        if uniform.numel():
            assert uniform.min() > -1e-5
            assert uniform.max() < 1 + 1e-5
            ranks = uniform.double().sort().values
            even = (torch.arange(len(ranks)) + 0.5) / len(ranks)
            assert (ranks - even).abs().max() < 1.95 / math.sqrt(len(ranks)) + 1e-5  # Kolmogorov-Smirnov, one in 1000


@pytest.mark.parametrize("n", [1, 2, 7, 100, 127, 128, 1500])
def test_recurrent_sums_are_exact_in_any_order(n: int) -> None:
    torch.manual_seed(n)
    for fraction in (0, 0.5, 1):
        weights = IzhikevichNodes(n, excitatory=fraction).S
        for _ in range(5):
            chosen = weights[:, torch.randperm(n)[: int(torch.randint(n + 1, ()))]]
            in_turn = torch.zeros(n)
            for column in chosen.T:
                in_turn = in_turn + column
            assert torch.equal(in_turn.double(), chosen.double().sum(1))
            assert torch.equal(in_turn, chosen.sum(1))


def test_izhikevich_weights_are_target_by_source() -> None:
    neuron = IzhikevichNodes(3, sum_input=True)
    neuron.S.copy_(torch.arange(9.0).reshape(3, 3))  # row: target; column: source
    state = neuron.initial_state(1) | {"v": torch.tensor([[-65.0, 50.0, -65.0]])}
    _, after = neuron(torch.zeros(1, 3), state)
    assert after["summed"].tolist() == [[1.0, 4.0, 7.0]]


def test_csrm_kernels_and_theta_are_buffers() -> None:
    shapes = {
        name: tuple(value.shape) for name, value in CSRMNodes(4, res_window_size=6, ref_window_size=3).state_dict().items()
    }
    assert (shapes["resKernel"], shapes["refKernel"], shapes["theta"]) == ((6,), (3,), (4,))
