"""Every rule against BindsNET 0.3.4's own: weights, traces and eligibility after each of 400 steps, bit by bit."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

import pytest
import torch
from torch import Tensor

from deploy_snn import learning
from deploy_snn.learning import Rule
from deploy_snn.network import Connection, Conv2d, Dense, LocalConnection2d, Network
from deploy_snn.neurons import Input, LIFNodes, SRM0Nodes

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture; tests are no package that is installed)
from ..neurons.bindsnet_oracle import TorchWithDraws  # noqa: TID252

STEPS = 400
SOURCES, TARGETS = 12, 7
BOUNDS = {"wmin": 0.0, "wmax": 3.0}


@dataclass(frozen=True)
class Case:
    """A rule with our keywords. ``theirs`` are BindsNET's where they are called otherwise."""

    rule: str
    nu: tuple[float, float] = (0.02, 0.05)
    options: dict[str, object] = field(default_factory=dict)
    traces: dict[str, object] = field(default_factory=dict)
    mcc: bool = False
    batches: tuple[int, ...] = (1, 4)

    def __str__(self) -> str:
        shown = [self.rule, "MCC" if self.mcc else "", *(f"{key}={value}" for key, value in self.options.items())]
        return "-".join(filter(None, [*shown, *self.traces]))


ADDITIVE = {"traces_additive": True, "trace_scale": 0.7, "tc_trace": 12.0}
CASES = [
    Case("PostPre", options=BOUNDS),
    Case("PostPre", options=BOUNDS | {"weight_decay": 1e-3}, traces=ADDITIVE),
    Case("PostPre", nu=(0.0, 0.05)),
    Case("Hebbian", options={"wmax": 5.0}),
    Case("WeightDependentPostPre", options=BOUNDS),
    Case("WeightDependentPostPre", options=BOUNDS | {"weight_decay": 1e-3}, traces=ADDITIVE),
    Case("MSTDP", options=BOUNDS),
    Case("MSTDP", options={"zero_lag": True, "tc_plus": 11.0, "tc_minus": 31.0}),
    Case("MSTDPET", options=BOUNDS),
    Case("MSTDPET", options={"zero_lag": True, "tc_e_trace": 13.0, "weight_decay": 1e-3}),
    Case("Rmax", options={"tc_c": 4.0}, traces={"traces_additive": True}, batches=(1,)),
    Case("DiehlAndCook", options={"wmax": 3.0}),
    Case("PostPre", options=BOUNDS, mcc=True),
    Case("PostPre", options=BOUNDS | {"weight_decay": 1e-3}, traces=ADDITIVE, mcc=True),
    Case("Hebbian", options=BOUNDS, mcc=True),
    Case("DiehlAndCook", options=BOUNDS, mcc=True),
    Case("MSTDP", options=BOUNDS, mcc=True, batches=(1,)),
    Case("MSTDPET", options=BOUNDS, mcc=True, batches=(1,)),
]


def starting_weights(shape: tuple[int, ...], *, dyadic: bool) -> Tensor:
    w = 3 * torch.rand(shape)
    return torch.round(w * 2**10) / 2**10 if dyadic else w


def ours(case: Case, connection: Connection, source: tuple[int, ...], target: tuple[int, ...]) -> Network:
    network = Network()
    network.add_layer(Input(shape=source, traces=True, **case.traces), "X")
    if case.rule == "Rmax":
        neuron = SRM0Nodes(shape=target, traces=True, probability=True, **case.traces)
    else:
        neuron = LIFNodes(shape=target, traces=True, tc_decay=20.0, thresh=-60.0, refrac=2, **case.traces)
    network.add_layer(neuron, "Y")
    network.add_connection(connection, "X", "Y")
    return network.finish()


def rule_of(case: Case) -> Rule:
    feature = {"feature": True} if case.mcc and case.rule == "MSTDP" else {}
    return getattr(learning, case.rule)(case.nu, **case.options, **feature)


def their_layers(peer: ModuleType, case: Case, batch: int, source: tuple, target: tuple) -> tuple[object, object, object]:  # noqa: F811
    network = peer.Network(dt=1.0, batch_size=batch)
    x = peer.nodes.Input(shape=list(source), traces=True, **case.traces)
    if case.rule == "Rmax":
        y = peer.nodes.SRM0Nodes(shape=list(target), traces=True, **case.traces)
    else:
        y = peer.nodes.LIFNodes(shape=list(target), traces=True, tc_decay=20.0, thresh=-60.0, refrac=2, **case.traces)
    network.add_layer(x, "X")
    network.add_layer(y, "Y")
    for layer in (x, y):
        layer.set_batch_size(batch)
    return network, x, y


def theirs(peer: ModuleType, case: Case, w: Tensor, batch: int) -> tuple[object, Callable[[], Tensor], object]:  # noqa: F811
    """Their network, a function that reads the weights, and the rule."""
    network, x, y = their_layers(peer, case, batch, (SOURCES,), (TARGETS,))
    options = dict(case.options)
    if case.mcc:
        rules = importlib.import_module("bindsnet.learning.MCC_learning")
        features = importlib.import_module("bindsnet.network.topology_features")
        limits = [options.pop("wmin"), options.pop("wmax")]
        feature = features.Weight(
            "weight", w.clone(), learning_rule=getattr(rules, case.rule), nu=case.nu, range=limits,
            decay=options.pop("weight_decay", 0.0), **options,
        )  # fmt: skip
        made = peer.topology.MulticompartmentConnection(x, y, "cpu", [feature])
        network.add_connection(made, "X", "Y")
        return network, feature.value.detach, feature.learning_rule
    rules = importlib.import_module("bindsnet.learning.learning")
    made = peer.topology.Connection(x, y, w=w.clone(), update_rule=getattr(rules, case.rule), nu=case.nu, **options)
    network.add_connection(made, "X", "Y")
    return network, made.w.detach, made.update_rule


def spikes_and_rewards(batch: int, source: tuple[int, ...], target: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        "X.x": (torch.rand(STEPS, batch, *source) < 0.2).float(),
        "reward": torch.randn(STEPS),
        "Y.noise": torch.rand(STEPS, batch, *target),
    }


def their_steps(network: object, given: dict[str, Tensor]) -> Iterator[int]:
    """Step their network, one ``run`` a step, with the draws that our noise implies."""
    module = sys.modules["bindsnet.network.nodes"]
    real, module.torch = module.torch, TorchWithDraws()
    try:
        for step in range(STEPS):
            module.torch.layer, module.torch.noise = network.layers["Y"], given["Y.noise"][step]
            network.run({"X": given["X.x"][step][None].clone()}, time=1, reward=float(given["reward"][step]))
            yield step
    finally:
        module.torch = real


def assert_equal_steps(network: Network, there: object, weights: Callable[[], Tensor], rule: object, batch: int) -> None:
    source, target = (network.layers[name].shape for name in ("X", "Y"))
    given = spikes_and_rewards(batch, source, target)
    inputs = {name: given[name] for name in given if name in {spec.name for spec in network.contract.inputs}}
    if "reward" in inputs:
        inputs["reward"] = given["reward"][:, None].expand(STEPS, batch)
    state = network.initial_state(batch)
    start = state["X_to_Y.w"].clone()
    spikes = 0
    for step in their_steps(there, given):
        outputs, state = network({name: values[step] for name, values in inputs.items()}, state)
        spikes += int(outputs["Y.s"].sum())
        assert torch.equal(outputs["Y.s"], there.layers["Y"].s.bool()), f"spikes at step {step}"
        assert torch.equal(state["X_to_Y.w"], weights()), f"weights at step {step}"
        for name in ("X", "Y"):
            assert torch.equal(state[f"{name}.trace"], there.layers[name].x), f"trace of {name} at step {step}"
        for name, their_name in (("p_plus", "p_plus"), ("p_minus", "p_minus"), ("eligibility", "eligibility_trace")):
            if f"X_to_Y.{name}" in state:
                expected = getattr(rule, their_name)
                assert torch.equal(state[f"X_to_Y.{name}"].squeeze(), expected.squeeze()), f"{name} at step {step}"
    assert spikes > STEPS // 4
    moved = (state["X_to_Y.w"] != start).float().mean()
    assert moved > 0.9, f"only {moved} of the weights have changed"


@pytest.mark.parametrize("dyadic", [True, False], ids=["dyadic", "arbitrary"])
@pytest.mark.parametrize(("case", "batch"), [(case, batch) for case in CASES for batch in case.batches], ids=str)
def test_dense(case: Case, batch: int, dyadic: bool, peer: ModuleType) -> None:  # noqa: F811
    torch.manual_seed(1)
    w = starting_weights((SOURCES, TARGETS), dyadic=dyadic)
    network = ours(case, Dense(w, rule=rule_of(case)), (SOURCES,), (TARGETS,))
    assert_equal_steps(network, *theirs(peer, case, w, batch), batch)


IMAGES = (2, 6, 5)
"""Channels, height and width of the source of a convolution."""

POSITIONED = [
    Case("PostPre", nu=(0.002, 0.005), options=BOUNDS | {"weight_decay": 1e-3}, traces=ADDITIVE),
    Case("WeightDependentPostPre", nu=(0.002, 0.005), options=BOUNDS),
    Case("Hebbian", nu=(0.002, 0.005), options=BOUNDS),
]


@pytest.mark.parametrize(("case", "batch"), [(case, batch) for case in POSITIONED for batch in case.batches], ids=str)
def test_conv2d(case: Case, batch: int, peer: ModuleType) -> None:  # noqa: F811
    torch.manual_seed(1)
    w, target = starting_weights((3, 2, 3, 2), dyadic=False), (3, 3, 6)
    shape = {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1)}
    network = ours(case, Conv2d(w, rule=rule_of(case), **shape), IMAGES, target)
    there, x, y = their_layers(peer, case, batch, IMAGES, target)
    rule = getattr(importlib.import_module("bindsnet.learning.learning"), case.rule)
    made = peer.topology.Conv2dConnection(
        x, y, (3, 2), w=w.clone(), b=torch.zeros(3), update_rule=rule, nu=case.nu, **shape, **case.options
    )
    there.add_connection(made, "X", "Y")
    assert_equal_steps(network, there, made.w.detach, made.update_rule, batch)


@pytest.mark.parametrize(("case", "batch"), [(case, batch) for case in POSITIONED for batch in case.batches], ids=str)
def test_local2d(case: Case, batch: int, peer: ModuleType) -> None:  # noqa: F811
    torch.manual_seed(1)
    w, source, target = starting_weights((1, 24, 4), dyadic=False), (1, 5, 4), (2, 4, 3)
    network = ours(case, LocalConnection2d(w, (2, 2), (1, 1), rule=rule_of(case)), source, target)
    there, x, y = their_layers(peer, case, batch, source, target)
    rule = getattr(importlib.import_module("bindsnet.learning.learning"), case.rule)
    made = peer.topology.LocalConnection2D(x, y, (2, 2), (1, 1), 2, update_rule=rule, nu=case.nu, **case.options)
    made.w.data = w.clone()
    there.add_connection(made, "X", "Y")
    assert_equal_steps(network, there, lambda: made.w.detach()[0], made.update_rule, batch)
