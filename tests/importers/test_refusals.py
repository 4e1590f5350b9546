"""Parts of BindsNET networks that cannot be imported are errors or notes; and the definitions that ``import`` writes."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.importers import from_bindsnet, load_model
from deploy_snn.importers.bindsnet import read_bindsnet
from deploy_snn.reference import reference_program

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)
from . import bindsnet_networks as build
from .test_bindsnet import NETWORKS, saved

pytestmark = pytest.mark.usefixtures("peer")
Command = Callable[..., tuple[int, str, str]]


def two_layers(target: object, **options: object) -> object:
    """A network of an input layer with 3 neurons, a given layer, and a connection with these options."""
    network, nodes, topology = build.part("network").Network(), build.part("network.nodes"), build.part("network.topology")
    X = nodes.Input(n=3)
    network.add_layer(X, "X")
    network.add_layer(target, "Y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network.add_connection(topology.Connection(X, target, **options), "X", "Y")
    return network


def pipeline(*features: object) -> object:
    network, nodes, topology = build.part("network").Network(), build.part("network.nodes"), build.part("network.topology")
    X, Y = nodes.Input(n=3), nodes.LIFNodes(n=3)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    network.add_connection(topology.MulticompartmentConnection(X, Y, "cpu", list(features)), "X", "Y")
    return network


def lif(**options: object) -> object:
    return build.part("network.nodes").LIFNodes(n=3, **options)


def weight(**options: object) -> object:
    return build.part("network.topology_features").Weight("weight", torch.ones(3, 3), **options)


def feature(name: str, *arguments: object, **options: object) -> object:
    return getattr(build.part("network.topology_features"), name)(name, *arguments, **options)


def subclassed() -> object:
    class LIFNodes(build.part("network.nodes").LIFNodes):
        pass

    return two_layers(LIFNodes(n=3), w=torch.ones(3, 3))


def masked() -> object:
    network = build.locally_connected()
    network.connections["X", "Y"].w.fill_(1.0)
    return network


def relayed() -> object:
    return two_layers(build.part("conversion").PassThroughNodes(n=3), w=torch.ones(3, 3))


def pooled_without_decay() -> object:
    network = build.every_connection()
    network.connections["X2", "pool2"].decay = None
    return network


def foreign_source() -> object:
    network = two_layers(lif(), w=torch.ones(3, 3))
    network.connections["X", "Y"].source = lif()
    return network


def csrm(**options: object) -> object:
    return build.part("network.nodes").CSRMNodes(n=3, **options)


def with_step(name: str) -> object:
    """A pipeline with a feature that normalises or changes another one in every step."""
    network = pipeline(built := weight())
    network.connections["X", "Y"].pipeline.append(feature(name, built))
    return network


def double() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        thresholds = torch.tensor([-52.1] * 3, dtype=torch.double)
        return two_layers(build.part("network.nodes").AdaptiveLIFNodes(n=3, thresh=thresholds), w=torch.ones(3, 3))


def degraded() -> object:
    return pipeline(weight(), feature("Degradation", torch.ones(3, 3), degrade_function=torch.sqrt))


def with_weights(target: Callable[[], object] = lif, **options: object) -> Callable[[], object]:
    return lambda: two_layers(target(), **{"w": torch.ones(3, 3)} | options)


def probability_of_a_half() -> object:
    return feature("Probability", torch.full((3, 3), 0.5))


REJECTED: dict[str, tuple[Callable[[], object], str]] = {
    "Dale's rule": (with_weights(Dales_rule=torch.ones(3, 3)), "set all weights to 0 after the first"),
    "a class of the user's": (subclassed, "this class cannot be imported"),
    "weights in double": (with_weights(w=torch.ones(3, 3).double(), w_dtype=torch.double), "torch.float64"),
    "a threshold in double": (double, "float32 does not have"),
    "weights under a mask": (masked, "under its mask"),
    "a relay of weights": (relayed, "as if they were spikes"),
    "pooling without decay": (pooled_without_decay, "no decay"),
    "a source that is no layer": (foreign_source, "joins layers that are not the network's"),
    "a bias into a window": (with_weights(csrm, b=torch.ones(3)), "before the first one"),
    "normalised in each step": (lambda: pipeline(weight(norm=2.0, norm_frequency="time step")), "in every step"),
    "polarity": (lambda: pipeline(weight(enforce_polarity=True)), "enforce_polarity"),
    "half precision": (lambda: pipeline(weight(value_dtype=torch.half)), "torch.float16"),
    "a bias that may fail": (
        lambda: pipeline(weight(), feature("Bias", torch.ones(3, 3)), probability_of_a_half()),
        "draws for a bias",
    ),
    "probabilities twice": (
        lambda: pipeline(weight(), probability_of_a_half(), probability_of_a_half()),
        "the second one that draws",
    ),
    "code": (degraded, "is code"),
    "a feature that is normalised": (lambda: with_step("Normalization"), "another feature in every step"),
    "a feature that learns": (lambda: with_step("Updating"), "also when the network does not"),
}


@pytest.mark.filterwarnings("ignore:Provided")
@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name: str) -> None:
    make, message = REJECTED[name]
    network = make()
    with pytest.raises(InvalidInput, match=message) as error:
        from_bindsnet(network)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"external": ["Z"]}, "unknown layer 'Z'; choose from X, Y"),
        ({"external": ["Y"], "one_step": True}, "discards the external input"),
    ],
)
def test_invalid_options(options: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        from_bindsnet(two_layers(lif(), w=torch.ones(3, 3)), **options)


def test_external_input_is_added() -> None:
    network = build.snap(two_layers(lif(), w=3 * torch.rand(3, 3)))
    imported = from_bindsnet(network, external="Y").network
    drives = {"X": (torch.rand(500, 1, 3) < 0.3).float(), "Y": torch.randint(0, 5, (500, 1, 3)).float()}
    outputs, _ = imported.rollout({f"{name}.x": x for name, x in drives.items()}, imported.initial_state(1))
    assert torch.equal(outputs["Y.s"], build.run(network, drives, {})["Y.s"])
    assert outputs["Y.s"].any()


def test_omitted_parts_are_reported(tmp_path: Path) -> None:
    learning, monitors = build.part("learning"), build.part("network.monitors")
    network = two_layers(
        lif(traces=True), w=torch.ones(3, 3), update_rule=learning.MSTDP, nu=0.1, norm=2.0, weight_decay=0.5
    )
    network.reward_fn = build.part("learning.reward").MovingAvgRPE()
    network.add_monitor(monitors.Monitor(network.layers["Y"], ["s"]), "watch")
    network.connections["X", "nowhere"] = network.connections["X", "Y"]
    network.layers["Y"].v += 1
    message = read_bindsnet(saved(network, tmp_path / "net.pt"), {}).left_behind
    for word in ("MSTDP", "norm 2", "weight decay", "MovingAvgRPE", "monitor 'watch'", "'nowhere'", "trace", "its v when"):
        assert sum(word in sentence for sentence in message) == 1, f"{word}: {message}"
    assert len(message) == 8


def test_states_left_by_a_run_are_reported() -> None:
    """The import notes spikes, potentials and rates that a run has left in a network, and none after a reset."""
    network = build.every_connection()
    assert not [sentence for sentence in from_bindsnet(network).left_behind if "when it was saved" in sentence]
    build.run(network, {f"X{axes}": torch.ones(3, 1, *network.layers[f"X{axes}"].shape) for axes in (1, 2, 3)}, {})
    message = " ".join(from_bindsnet(network).left_behind)
    for words in ("layer 'X1': its s when", "its s and v and refrac_count when", "'pool2': its firing rates when"):
        assert words in message
    network.reset_state_variables()
    assert "when it was saved" not in " ".join(from_bindsnet(network).left_behind)


def test_names_become_identifiers() -> None:
    network, nodes = build.part("network").Network(), build.part("network.nodes")
    for name in ("layer_1", "1", "a-b", "a_b", "lambda"):
        network.add_layer(nodes.Input(n=2), name)
    with pytest.raises(InvalidInput, match="nothing but Input layers"):
        from_bindsnet(network)
    network.add_layer(nodes.LIFNodes(n=2), "Y")
    imported = from_bindsnet(network)
    assert list(imported.network.layers) == ["layer_1", "layer_1_", "a_b_", "a_b", "layer_lambda", "Y"]
    assert "layer 'a-b' is called 'a_b_' here" in imported.notes


NETWORKS_TO_DEFINE = {name: make for name, (make, _) in NETWORKS.items()} | {"synapses that fail": build.failing}


@pytest.mark.parametrize("name", NETWORKS_TO_DEFINE)
def test_definition_gives_the_same_network(name: str, tmp_path: Path, command: Command) -> None:
    """The definition that ``import`` writes loads as a network with the same contract and the same numbers."""
    torch.manual_seed(9)
    path = saved(NETWORKS_TO_DEFINE[name](), tmp_path / "net.pt")
    status, shown, _ = command("import", path, "-o", tmp_path / "mine")
    assert status == 0
    imported = read_bindsnet(path, {})
    for sentence in (*imported.left_behind, *imported.notes):
        assert sentence in re.sub(r"\s*\n", " ", shown.replace("\n-", "-")) or f"- {sentence}" in shown.splitlines()
    ours = load_model(str(tmp_path / "mine.py"), {}).program
    assert ours.contract == imported.network.contract
    numbers, wanted = dict(ours.named_buffers()), dict(imported.network.named_buffers())
    assert numbers.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(numbers[key], value), key
    assert max(map(len, (tmp_path / "mine.py").read_text().split('"""')[2].splitlines())) <= 124


@pytest.mark.parametrize("options", [("external=pool",), ("one_step=true", "external=X")])
def test_definition_keeps_the_options(options: tuple[str, ...], tmp_path: Path, command: Command) -> None:
    path = saved(build.reservoir(), tmp_path / "net.pt")
    sets = [word for option in options for word in ("--set", option)]
    assert command("import", path, "-o", tmp_path / "mine", *sets)[0] == 0
    ours = load_model(str(tmp_path / "mine.py"), {}).program
    keywords = {"one_step": len(options) == 2, "external": [options[-1].removeprefix("external=")]}
    imported = read_bindsnet(path, keywords).network
    assert (ours.contract, ours.one_step) == (imported.contract, imported.one_step)
    text = (tmp_path / "mine.py").read_text()
    assert text.count("dt=0.5") == 4
    assert ".dt" not in text


def test_parity_without_the_imported_file(tmp_path: Path, command: Command) -> None:
    """parity compares a bundle with the exported network, also after the imported file has changed or was deleted."""
    path = saved(build.diehl_and_cook(), tmp_path / "net.pt")
    assert command("parity", path, "--steps", 50, "--runtime", "onnxruntime-cpu,torchscript", "--snap-weights", 12)[0] == 0
    status, shown, _ = command("export", path, "-o", tmp_path / "b", "--set", "learning=false", "--format", "onnx")
    assert status == 0
    assert "learning rule PostPre" in shown
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.manifest.source.kind == "import"
    assert "Ae.theta" not in {spec.name for spec in bundle.contract.states}
    assert "learning rule PostPre" in command("inspect", tmp_path / "b")[1]
    theta = read_bindsnet(path, {}).network.layers["Ae"].neuron.theta
    for change in (lambda: saved(build.diehl_and_cook(), path), path.unlink):
        change()
        assert torch.equal(reference_program(bundle).layers["Ae"].neuron.theta, theta)
        assert command("parity", tmp_path / "b", "--steps", 50, "--runtime", "onnxruntime-cpu")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["taken.py"], "is text: a Python file with build() needs a name that ends in .py"),
        (["none.pt"], "none.pt does not exist"),
        (["net.pt", "--set", "batch=3"], "unknown option batch; a BindsNET network takes one_step, learning, external"),
        (["net.pt", "--set", "one_step=maybe"], "one_step='maybe': expected true or false"),
        (["net.pt", "--set", "external=3"], "external=3: expected the name of a layer"),
        (["net.pt", "-o", "taken"], "taken.py exists, and may have been changed by hand"),
        (["net.pt", "-o", "no/where"], "the folder no does not exist"),
    ],
)
def test_invalid_arguments(
    arguments: list[str], message: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(build.two_layers(), Path("net.pt"))
    Path("taken.py").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, _, error = command("import", *arguments)
    assert status == 2
    assert error.startswith("deploy-snn: ")
    assert error.count("\n") == 1
    assert message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path("taken.py").read_text() == "mine"
