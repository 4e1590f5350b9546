"""BindsNET networks that go on learning after the import, against BindsNET itself, sample by sample."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy_snn import export
from deploy_snn.errors import InvalidInput
from deploy_snn.importers import from_bindsnet
from deploy_snn.importers.bindsnet import read_bindsnet
from deploy_snn.learning import PostPre

from ..importers import bindsnet_networks as build  # noqa: TID252  (tests are no package that is installed)
from ..importers.test_bindsnet import saved  # noqa: TID252
from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)

pytestmark = pytest.mark.usefixtures("peer")

SAMPLES, STEPS = 20, 60


def diehl_and_cook(name: str) -> object:
    torch.manual_seed(2)
    network = getattr(build.part("models"), name)(64, n_neurons=12, norm=20.0)
    for connection in network.connections.values():  # strong enough that neurons fire from the first sample on
        if hasattr(connection, "w") and connection.source is network.layers["X"]:
            connection.w.data.mul_(4)
    return network


@pytest.mark.parametrize("name", ["DiehlAndCook2015", "DiehlAndCook2015v2"])
def test_sample_after_sample(name: str, tmp_path: Path) -> None:
    """Weights, theta and traces after each sample, with winner-take-all and the norm that follows each of them.

    ONNX Runtime and C learn beside eager, with the same spikes. Their norm adds up each column in another order.
    """
    network = diehl_and_cook(name)
    exc = "Ae" if name == "DiehlAndCook2015" else "Y"
    ours = from_bindsnet(network, plastic=True).network
    ours.record = ["X.s"]
    bundle = export(ours, tmp_path / name, formats=["onnx", "c"], golden_steps=0)
    sessions = {runtime: bundle.session(runtime) for runtime in ("onnxruntime-cpu", "c")}
    state = ours.initial_state(1)
    start = state[f"X_to_{exc}.w"].clone()
    fired = 0
    for sample in range(SAMPLES):
        spikes, noise = (torch.rand(STEPS, 1, 64) < 0.25).float(), torch.rand(STEPS, 1, 12)
        network.reset_state_variables()
        state = ours.initial_state(1) | {key: state[key] for key in state if key.endswith((".w", ".theta"))}
        with build.drawing(network, {exc: noise}), torch.no_grad():
            network.run({"X": spikes.clone()}, time=STEPS)
            outputs, state = ours.rollout({"X.x": spikes, f"{exc}.noise": noise}, state)
        del network.layers[exc].forward  # the wrapper that draws; the class's own is below it
        fired += int(outputs[f"{exc}.s"].sum())
        state |= ours.normalise(state)
        connection = network.connections["X", exc]
        w = connection.pipeline[0].value if hasattr(connection, "pipeline") else connection.w
        assert torch.equal(state[f"X_to_{exc}.w"], w.detach()), f"weights after sample {sample}"
        assert torch.equal(state[f"{exc}.theta"], network.layers[exc].theta), f"theta after sample {sample}"
        for layer in ("X", exc):
            assert torch.equal(state[f"{layer}.trace"], network.layers[layer].x), f"trace after sample {sample}"
        for runtime, session in sessions.items():
            kept = {key: value for key, value in session.state.items() if key.endswith((".w", ".theta"))}
            session.state = bundle.initial_state(1) | kept
            spiked = session.run({"X.x": spikes.numpy(), f"{exc}.noise": noise.numpy()})[f"{exc}.s"]
            session.normalise()
            np.testing.assert_array_equal(spiked, outputs[f"{exc}.s"].numpy(), f"{runtime}, sample {sample}")
            learnt = session.state[f"X_to_{exc}.w"]
            np.testing.assert_allclose(
                learnt, w.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=f"{runtime}, sample {sample}"
            )
    assert fired > SAMPLES * 5
    assert (state[f"X_to_{exc}.w"] != start).float().mean() > 0.9


def test_a_file_gives_the_same_network(tmp_path: Path) -> None:
    network = diehl_and_cook("DiehlAndCook2015")
    live, read = from_bindsnet(network, plastic=True), read_bindsnet(saved(network, tmp_path / "n.pt"), {"plastic": True})
    assert (live.network.contract, live.notes, live.left_behind) == (read.network.contract, read.notes, read.left_behind)
    for name, value in live.network.state_dict().items():
        assert torch.equal(value, read.network.state_dict()[name]), name
    assert not any("learning rule PostPre" in sentence for sentence in live.left_behind)
    assert isinstance(live.network.connections[0].rule, PostPre)


def test_without_learning_the_weights_are_constants() -> None:
    frozen = from_bindsnet(diehl_and_cook("DiehlAndCook2015"), plastic=True, learning=False).network
    assert not frozen.contract.weights
    assert "Ae.theta" not in frozen.initial_state(1)


def connected(make: Callable[..., object], shape: tuple[int, ...] = (4,), target: tuple[int, ...] = (3,)) -> object:
    network, nodes = build.part("network").Network(), build.part("network.nodes")
    x, y = nodes.Input(shape=list(shape), traces=True), nodes.LIFNodes(shape=list(target), traces=True)
    network.add_layer(x, "X")
    network.add_layer(y, "Y")
    network.add_connection(make(x, y), "X", "Y")
    return network


def dense(rule: str, **options: object) -> Callable[..., object]:
    def make(x: object, y: object) -> object:
        cls = getattr(importlib.import_module("bindsnet.learning.learning"), rule)
        return build.part("network.topology").Connection(x, y, update_rule=cls, nu=(0.1, 0.1), **options)

    return make


def feature(rule: str, **options: object) -> Callable[..., object]:
    def make(x: object, y: object) -> object:
        cls = getattr(importlib.import_module("bindsnet.learning.MCC_learning"), rule)
        weight = build.part("network.topology_features").Weight(
            "w", torch.rand(4, 3), learning_rule=cls, nu=(0.1, 0.1), **options
        )
        return build.part("network.topology").MulticompartmentConnection(x, y, "cpu", [weight])

    return make


def local(x: object, y: object) -> object:
    rule = importlib.import_module("bindsnet.learning.learning").PostPre
    return build.part("network.topology").LocalConnection2D(x, y, (2, 2), (1, 1), 2, update_rule=rule, nu=(0.1, 0.1))


REFUSED = {
    "norm that flips signs": (feature("PostPre", norm=3.0), (4,), (3,), "flips the sign"),
    "enforce_polarity": (feature("PostPre", enforce_polarity=True), (4,), (3,), "never learns"),
    "mu": (dense("DiehlAndCook", wmax=1.0, mu=2.0), (4,), (3,), "its mu is 2"),
    "two channels": (local, (2, 3, 3), (2, 2, 2), "more than one channel"),
    "reduction": (dense("PostPre", reduction=torch.mean), (4,), (3,), "reduction is code"),
    "no rule": (dense("NoOp"), (4,), (3,), "no connection of the network has a learning rule"),
}


@pytest.mark.parametrize(("make", "source", "target", "phrase"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_learn_as_in_bindsnet_is_refused(make: Callable, source: tuple, target: tuple, phrase: str) -> None:
    network = connected(make, source, target)
    with pytest.raises(InvalidInput, match=phrase):
        from_bindsnet(network, plastic=True)


def test_options_of_a_rule_are_read() -> None:
    made = from_bindsnet(
        connected(dense("MSTDPET", wmin=-1.0, wmax=2.0, weight_decay=0.01, tc_plus=11.0, tc_e_trace=9.0)), plastic=True
    )
    rule = made.network.connections[0].rule
    values = [rule.nu[0], rule.wmin, rule.wmax, rule.kept, rule.tc_plus, rule.tc_minus, rule.tc_e_trace]
    assert torch.equal(torch.stack(values), torch.tensor([0.1, -1.0, 2.0, 0.99, 11.0, 20.0, 9.0]))
    assert "the reward of each step is the input 'reward'" in made.notes
