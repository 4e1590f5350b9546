"""Every class and option against BindsNET 0.3.4: spikes and states have equal bits in each of 500 steps."""

import math
import zlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deploy_snn import neurons
from deploy_snn.neurons import Nodes

from .bindsnet_oracle import Oracle

STEPS = 500
Options = dict[str, object]

COMMON: list[Options] = [
    {},
    {"traces": True},
    {"traces": True, "tc_trace": (3.0, 30.0)},
    {"traces": True, "traces_additive": True},
    {"traces": True, "traces_additive": True, "trace_scale": 0.3, "tc_trace": 7.0},
    {"traces": True, "traces_additive": True, "trace_scale": (0.1, 2.0), "sum_input": True},
    {"sum_input": True},
]
BOUNDS: list[Options] = [{"lbound": -66.0}, {"lbound": -61.5, "traces": True, "sum_input": True}]  # below and above reset
MEMBRANE: list[Options] = [*COMMON, *BOUNDS, {"thresh": -55.0, "reset": -63.0, "refrac": 2.0}, {"refrac": 0.0}]
LEAKY: list[Options] = [
    *MEMBRANE,
    {"thresh": (-58.0, -50.0), "rest": (-66.0, -62.0), "tc_decay": (5.0, 200.0)},
    # Without leak, potentials stay on the grid of the drive, so some equal the threshold exactly.
    {"tc_decay": 1e12, "rest": -64.0, "reset": -67.0},
]
ADAPTIVE: list[Options] = [
    *LEAKY,
    {"theta_plus": 1.0, "tc_theta_decay": 40.0},
    {"theta_plus": (0.1, 1.5), "tc_theta_decay": (10.0, 1000.0), "traces": True},
    {"learning": False, "tc_theta_decay": 20.0},
    {"learning": False, "lbound": -61.5, "traces": True, "traces_additive": True},
]
IZHIKEVICH: list[Options] = [
    *({"excitatory": fraction} | options for fraction in (1.0, 0.8, 0.0) for options in COMMON),
    {"excitatory": 0.55, "lbound": -70.0},
    {"excitatory": 0.8, "thresh": (20.0, 45.0), "rest": (-70.0, -60.0), "lbound": -68.0, "sum_input": True},
    {"excitatory": 7.0},
    {"excitatory": -1.0},
]
CSRM: list[Options] = [
    *(options for options in COMMON if "sum_input" not in options),  # BindsNET's CSRM fails with sum_input
    {"lbound": -10.0},
    {"thresh": (5.0, 25.0), "rest": (-20.0, 0.0), "tc_decay": (5.0, 50.0)},
    {"theta_plus": 1.0, "tc_theta_decay": 40.0},
    {"theta_plus": (0.1, 1.5), "tc_theta_decay": (10.0, 1000.0), "traces": True},
    {"learning": False, "traces": True, "tc_theta_decay": 20.0},
]
TABLE: dict[str, list[Options]] = {
    "Input": COMMON,
    "McCullochPitts": [*COMMON, {"thresh": 2.0}, {"thresh": (-1.0, 3.0)}],
    "IFNodes": [*MEMBRANE, {"thresh": (-58.0, -50.0)}],
    "LIFNodes": LEAKY,
    "BoostedLIFNodes": [
        *COMMON,
        {"thresh": 7.0, "refrac": 2.0},
        {"refrac": 0.0},
        {"thresh": (5.0, 15.0), "tc_decay": (5.0, 200.0)},
        {"tc_decay": 1e12},
    ],
    "CurrentLIFNodes": [*LEAKY, {"tc_i_decay": 8.0}, {"tc_i_decay": (0.5, 9.0)}],
    "AdaptiveLIFNodes": ADAPTIVE,
    "DiehlAndCookNodes": [{"one_spike": one} | options for one in (True, False) for options in ADAPTIVE],
    "IzhikevichNodes": IZHIKEVICH,
    "CSRMNodes": [{"thresh": 15.0, "rest": -5.0} | options for options in CSRM],
    "SRM0Nodes": [
        *LEAKY,
        {"eps_0": 1.7, "rho_0": 0.3, "d_thresh": 2.0},
        {"eps_0": (0.5, 2.0), "rho_0": (0.1, 2.0), "d_thresh": (0.5, 8.0), "traces": True},
    ],
}
Setting = tuple[float, int, tuple[int, ...]]
SETTINGS: list[Setting] = [(1.0, 3, (10,)), (0.5, 1, (2, 5)), (0.1, 3, (2, 5)), (1.0, 1, (10,))]
FLAT = ("IzhikevichNodes", "CSRMNodes")  # BindsNET's classes support one axis only
MEAN_AND_SPREAD = {
    "McCullochPitts": (0.0, 1.5),
    "CurrentLIFNodes": (0.25, 1.0),
    "IzhikevichNodes": (8.0, 6.0),
    "CSRMNodes": (0.6, 2.0),
    "SRM0Nodes": (2.0, 3.0),
}


def cases() -> list[object]:
    return [
        pytest.param(name, options, setting, id=f"{name}-{options}-dt{setting[0]}-batch{setting[1]}")
        for name, table in TABLE.items()
        for options in table
        for setting in SETTINGS
    ]


def with_tensors(options: Options, shape: tuple[int, ...]) -> Options:
    """Replace each ``(low, high)`` of the table by a tensor with one value per neuron."""
    n = math.prod(shape)
    tensors = {key: torch.linspace(*value, n).reshape(shape) for key, value in options.items() if isinstance(value, tuple)}
    return options | tensors


def drive(name: str, shape: tuple[int, ...]) -> Tensor:
    """Random drives on a grid of 1/4, so that some potentials equal the threshold."""
    if name == "Input":
        return (torch.rand(STEPS, *shape) < 0.2).float()
    mean, spread = MEAN_AND_SPREAD.get(name, (1.5, 3.0))
    return ((torch.randn(STEPS, *shape) * spread + mean) * 4).round() / 4


def build_both(name: str, options: Options, shape: tuple[int, ...], batch: int, dt: float) -> tuple[Nodes, Oracle]:
    """Build our layer and BindsNET's, with the same random and learnt values, and sums that are exact in any order."""
    given = with_tensors(options, shape)
    windows = {"res_window_size": 12, "ref_window_size": 7}
    if name == "CSRMNodes":  # BindsNET counts windows in steps
        ours = neurons.CSRMNodes(shape=shape, dt=dt, **given, **{key: steps * dt for key, steps in windows.items()})
        oracle = Oracle(name, shape, batch, dt, given | windows | {"tau": 1.0})
        ours.resKernel.copy_(torch.randint(0, 256, (12,)) / 256)  # a grid on which sums are exact in any order
        ours.refKernel.copy_(-torch.randint(0, 2048, (7,)) / 256)
        oracle.layer.resKernel, oracle.layer.refKernel = ours.resKernel.clone(), ours.refKernel.clone()
    elif name == "IzhikevichNodes":
        ours = neurons.IzhikevichNodes(shape=shape, dt=dt, spike_at="end", **given)
        oracle = Oracle(name, shape, batch, dt, given)
        oracle.layer.S = (oracle.layer.S * 64).round() / 64
        for parameter in ("a", "b", "c", "d", "S"):
            getattr(ours, parameter).copy_(getattr(oracle.layer, parameter))
        oracle.layer.set_batch_size(batch)
    else:
        ours = getattr(neurons, name)(shape=shape, dt=dt, **given)
        oracle = Oracle(name, shape, batch, dt, {"refrac": 5.0} | given)
    if "theta" in ours.state_dict():  # values as after earlier learning
        ours.theta.copy_(torch.rand(shape) * 2)
        oracle.layer.theta = ours.theta.clone()
    return ours, oracle


def windows_of(x: Tensor, length: int) -> Tensor:
    """Turn ``[T, B, *shape]`` into the windows of CSRM, ``[T, B, length, *shape]``, newest last."""
    padded = torch.cat((x.new_zeros(length - 1, *x.shape[1:]), x))
    return padded.unfold(0, length, 1).movedim(-1, 2)


def run_both(ours: Nodes, oracle: Oracle, x: Tensor, watch: Callable[[Tensor, dict[str, Tensor]], None]) -> None:
    """Step both layers through ``x``, and fail at the first difference."""
    noise = torch.rand(len(x), oracle.layer.batch_size, *ours.shape)
    noise[noise < 0.05] = 0.0  # with a spike probability of 0, noise 0 must not fire either
    state = ours.initial_state(oracle.layer.batch_size)
    for step in range(len(x)):
        s, state = ours(x[step], state, noise[step] if ours.stochastic else None)
        expected = oracle.step(x[step], noise[step])
        assert torch.equal(s, expected), f"step {step}: s differs"
        for name, value in state.items():
            equal = torch.equal(value, oracle.state(name))
            assert equal, f"step {step}: {name} differs"
        watch(s, state)


@pytest.mark.parametrize(("name", "options", "setting"), cases())
def test_spikes_and_states_equal_bindsnets(name: str, options: Options, setting: Setting) -> None:
    dt, batch, shape = setting
    torch.manual_seed(zlib.crc32(f"{name} {options} {setting}".encode()))  # a different seed for each case
    shape = (math.prod(shape),) if name in FLAT else shape
    ours, oracle = build_both(name, options, shape, batch, dt)
    x = drive(name, (batch, *shape))
    if name == "CSRMNodes":
        x = windows_of(x, 12)
    fired, clipped, crowded = [], [], []

    def watch(s: Tensor, state: dict[str, Tensor]) -> None:
        fired.append(s)
        if "lbound" in options:
            clipped.append((state["v"] == ours.lbound).any())
        if options.get("one_spike"):
            crowded.append(((state["refrac_count"] == ours.refrac).flatten(1).sum(1) > 1).any())

    run_both(ours, oracle, x, watch)
    rate = torch.stack(fired).float().mean().item()
    assert 0.002 < rate < 0.6, f"a rate of {rate} spikes a step is no useful test"
    assert not clipped or any(clipped), "the lower bound was never reached"
    assert not crowded or any(crowded), "no two neurons competed for the one spike"
    if not ours.learning and "theta" in ours.state_dict():
        assert torch.equal(ours.theta, oracle.layer.theta)


def test_boosted_lif_without_a_drive() -> None:
    torch.manual_seed(0)
    ours, oracle = build_both("BoostedLIFNodes", {"traces": True}, (10,), 2, 1.0)
    x = drive("BoostedLIFNodes", (2, 10)) * 2
    state, fired = ours.initial_state(2), 0
    for step in range(STEPS):
        given = None if step % 3 == 1 else x[step]
        s, state = ours(given, state)
        assert torch.equal(s, oracle.step(given))
        assert all(torch.equal(value, oracle.state(name)) for name, value in state.items())
        fired += int(s.sum())
    assert fired > 50


def test_izhikevich_spike_at_start_is_one_step_late() -> None:
    torch.manual_seed(1)
    early, oracle = build_both("IzhikevichNodes", {"excitatory": 0.8, "traces": True}, (12,), 2, 1.0)
    late = neurons.IzhikevichNodes(12, traces=True)  # the default is "start"
    late.load_state_dict(early.state_dict())
    state, x = late.initial_state(2), drive("IzhikevichNodes", (2, 12))
    before, trace, fired = torch.zeros(2, 12, dtype=torch.bool), torch.zeros(2, 12), 0
    for step in range(STEPS):
        s, state = late(x[step], state)
        assert torch.equal(s, before)
        assert torch.equal(state["trace"], trace)
        before, trace = oracle.step(x[step]), oracle.state("trace").clone()
        assert torch.equal(state["v"], oracle.state("v"))
        assert torch.equal(state["u"], oracle.state("u"))
        fired += int(s.sum())
    assert fired > 50


def test_scale_of_a_trace_that_is_not_additive() -> None:
    torch.manual_seed(2)
    ours, oracle = build_both("LIFNodes", {"traces": True, "trace_scale": 0.5}, (10,), 2, 1.0)
    state, x = ours.initial_state(2), drive("LIFNodes", (2, 10))
    for step in range(STEPS):
        s, state = ours(x[step], state)
        assert torch.equal(s, oracle.step(x[step]))
        assert (state["trace"][s] == 1).all()
        assert torch.equal(0.5 * state["trace"], oracle.state("trace"))  # exact, since the factor is a power of two
    assert state["trace"].any()


@pytest.mark.parametrize("tau", [0.7, 1.0, 3.0, 25.0])
@pytest.mark.parametrize("kernel", ["AlphaKernel", "AlphaKernelSLAYER", "LaplacianKernel", "ExponentialKernel"])
def test_sampled_kernels_equal_bindsnets(kernel: str, tau: float) -> None:
    options: Options = {"responseKernel": kernel, "tau": tau, "reset_const": 35.0}
    ours, oracle = neurons.CSRMNodes(3, **options), Oracle("CSRMNodes", (3,), 1, 1.0, options)
    assert torch.equal(ours.resKernel, oracle.layer.resKernel)
    assert torch.equal(ours.refKernel, oracle.layer.refKernel)
