"""Imported BindsNET networks, live and from files, against BindsNET's own ``Network.run``, at every step."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deploy_snn.importers import Imported, from_bindsnet
from deploy_snn.importers.bindsnet import read_bindsnet

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)
from . import bindsnet_networks as build

pytestmark = pytest.mark.usefixtures("peer")

STEPS = 500


def saved(network: object, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # BindsNET does not close the file
        network.save(str(path))
    return path


def equal_imports(one: Imported, other: Imported) -> bool:
    """Return whether two imports are equal: networks, numbers and messages."""
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return (
        (one.left_behind, one.notes, one.network.contract) == (other.left_behind, other.notes, other.network.contract)
        and ours.keys() == theirs.keys()
        and all(torch.equal(value, theirs[name]) for name, value in ours.items())
    )


def compare(imported: Imported, network: object, batch: int = 1, *, one_step: bool = False) -> None:
    """Run both networks with the same inputs and noise, and compare every spike and potential."""
    program = imported.network
    program.record = [f"{name}.v" for name in program.layers if f"{name}.v" in program.initial_state(1)]
    inputs = {
        name: (torch.rand(STEPS, batch, *layer.shape) < 0.15).float()
        for name, layer in network.layers.items()
        if type(layer).__name__ == "Input"
    }
    names = dict(zip(network.layers, program.layers, strict=True))
    noise = {
        old: torch.rand(STEPS, batch, *program.layers[new].shape) for old, new in names.items() if takes_noise(program, new)
    }
    given = {f"{names[name]}.x": values for name, values in inputs.items()}
    given |= {f"{names[name]}.noise": values for name, values in noise.items()}
    with torch.no_grad():
        outputs, last = program.rollout(given, program.initial_state(batch))
    expected = build.run(network, inputs, noise, one_step=one_step)
    compared = 0
    for old, new in names.items():
        if f"{new}.s" not in outputs:
            continue
        spikes = outputs[f"{new}.s"]
        assert 0 < spikes.float().mean() < 0.99, f"{old} fires at {spikes.float().mean()}"
        assert_equal(spikes, expected[f"{old}.s"].bool(), f"{old}.s")
        if f"record.{new}.v" in outputs:
            assert_equal(outputs[f"record.{new}.v"], expected[f"{old}.v"], f"{old}.v")
        for state in ("theta", "summed"):
            if state == "summed":
                assert hasattr(network.layers[old], state) == (f"{new}.{state}" in last)
            if f"{new}.{state}" in last:
                assert_equal(last[f"{new}.{state}"], getattr(network.layers[old], state), f"{old}.{state}")
        compared += 1
    assert compared


def takes_noise(program: object, name: str) -> bool:
    return f"{name}.noise" in {spec.name for spec in program.contract.inputs}


def assert_equal(ours: Tensor, theirs: Tensor, name: str) -> None:
    theirs = theirs.reshape(ours.shape)
    if not torch.equal(ours, theirs):
        place = (ours != theirs).nonzero()[0].tolist()
        raise AssertionError(f"{name} differs first at {place}: {ours[tuple(place)]} and {theirs[tuple(place)]}")


NETWORKS: dict[str, tuple[Callable[[], object], int]] = {
    "TwoLayerNetwork": (build.two_layers, 4),
    "DiehlAndCook2015": (build.diehl_and_cook, 1),
    "DiehlAndCook2015, a batch": (build.diehl_and_cook, 4),
    "DiehlAndCook2015, sparse": (partial(build.diehl_and_cook, sparse=True, batch_size=1), 1),
    "DiehlAndCook2015v2": (build.diehl_and_cook_v2, 4),
    "IncreasingInhibitionNetwork": (build.increasing_inhibition, 1),
    "LocallyConnectedNetwork": (build.locally_connected, 1),
    "ann_to_snn": (build.converted, 4),
    "reservoir": (build.reservoir, 1),
    "Izhikevich": (build.izhikevich, 4),
    "every neuron": (build.every_neuron, 1),
    "every connection": (build.every_connection, 4),
    "pipelines": (build.pipelines, 4),
}


@pytest.mark.parametrize("learning", [True, False], ids=["learning", "frozen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike_and_potential(name: str, learning: bool, tmp_path: Path) -> None:
    """Spikes and potentials equal BindsNET's, with adapting thresholds ("learning") and with fixed ones ("frozen")."""
    torch.manual_seed(5)
    make, batch = NETWORKS[name]
    network = build.snap(make())
    if learning:
        network.learning = False
    else:
        network.train(False)
    live, filed = from_bindsnet(network), read_bindsnet(saved(network, tmp_path / "net.pt"), {})
    assert equal_imports(live, filed)
    compare(filed, network, batch)


@pytest.mark.parametrize("name", ["TwoLayerNetwork", "DiehlAndCook2015", "reservoir", "ann_to_snn", "Izhikevich"])
def test_one_step(name: str) -> None:
    torch.manual_seed(6)
    network = build.snap(NETWORKS[name][0]())
    network.train(False)
    compare(from_bindsnet(network, one_step=True), network, one_step=True)


def test_stochastic_synapses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stochastic synapses give BindsNET's spikes if BindsNET draws the values that our noise implies."""
    torch.manual_seed(9)
    network = build.snap(build.failing())
    imported = read_bindsnet(saved(network, tmp_path / "net.pt"), {})
    assert equal_imports(from_bindsnet(network), imported)
    assert sum("draws once for all rows" in line for line in imported.left_behind) == 2
    program = imported.network
    noise = {"X_to_Y.noise": torch.rand(STEPS, 1, 30, 20), "Y_to_Y.noise": torch.rand(STEPS, 1, 20, 20)}
    x = (torch.rand(STEPS, 1, 30) < 0.3).float()
    with torch.no_grad():
        outputs, _ = program.rollout(noise | {"X.x": x}, program.initial_state(1))
    turns = (noise[name][step, 0] for step in range(STEPS) for name in noise)
    monkeypatch.setattr(torch, "bernoulli", lambda p: (next(turns) < p).float())
    expected = build.run(network, {"X": x}, {})
    assert 0.01 < outputs["Y.s"].float().mean() < 0.99
    assert_equal(outputs["Y.s"], expected["Y.s"].bool(), "Y.s")


def test_old_file_format(tmp_path: Path) -> None:
    network = build.diehl_and_cook()
    torch.save(network, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert equal_imports(read_bindsnet(tmp_path / "old.pt", {}), from_bindsnet(network))


def test_learning_false_keeps_theta_constant() -> None:
    network = build.snap(build.diehl_and_cook())
    held = from_bindsnet(network, learning=False)
    assert "Ae.theta" not in held.network.initial_state(1)
    network.train(False)
    compare(held, network)
    assert math.prod(held.network.state_dict()["layers.Ae.neuron.theta"].shape) == 20


def test_order_of_sums() -> None:
    """Drives are added in the order of the connections: another order would round differently, without a weight grid."""
    torch.manual_seed(7)
    network = build.converging(torch.rand(16).tolist())
    compare(from_bindsnet(network), network)
