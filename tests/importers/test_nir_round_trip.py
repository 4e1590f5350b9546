"""A network written to NIR and read back gives equal bits at every step; what NIR cannot express is an error."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deploy_snn import neurons
from deploy_snn.errors import InvalidInput
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.nir import read_nir, write_nir
from deploy_snn.network import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Dense,
    Lateral,
    MaxPool2d,
    MeanField,
    Network,
    OneToOne,
    Reshape,
    Sparse,
    StochasticDense,
    SumPool2d,
)

from .nir_runs import steps

STEPS, BATCH, N = 60, 3, 4


def round_trip(network: Network, **options: Any) -> Imported:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ours.nir"
        write_nir(network, path, **options)
        return read_nir(path, {})


def assert_equal_outputs(network: Network, restored: Network, *inputs: Tensor) -> dict[str, Tensor]:
    """Check that every output of the first network is equal in the second, which may have more outputs."""
    ours, theirs = steps(network, *inputs), steps(restored, *inputs)
    for name, values in ours.items():
        assert torch.equal(theirs[name], values), name
    return ours


def spikes(*shape: int, rate: float = 0.4) -> Tensor:
    return (torch.rand(STEPS, BATCH, *shape) < rate).float()


def each(low: float, high: float) -> st.SearchStrategy[Any]:
    values = st.floats(low, high, width=32, allow_subnormal=False)
    return values | st.lists(values, min_size=N, max_size=N).map(torch.tensor)


DECAY = each(2.0**-13, 1)
BINDSNET = {"thresh": each(-56, -50), "reset": each(-70, -60), "refrac": st.just(0)}
LEAKY = BINDSNET | {"rest": each(-66, -62), "tc_decay": each(1, 200)}
MAYBE = {"rest": st.none() | each(-1, 1)}
FIRING = {"thresh": each(0.5, 3), "inclusive": st.booleans(), "reset": each(-1, 0.25)}
CLASSES: dict[type[neurons.Nodes], dict[str, st.SearchStrategy[Any]]] = {
    neurons.LIFNodes: LEAKY,
    neurons.IFNodes: BINDSNET,
    neurons.BoostedLIFNodes: {"thresh": each(3, 13), "refrac": st.just(0), "tc_decay": each(1, 200)},
    neurons.CurrentLIFNodes: LEAKY | {"tc_i_decay": each(0.5, 20)},
    neurons.AdaptiveLIFNodes: LEAKY | {"learning": st.just(False)},
    neurons.DiehlAndCookNodes: LEAKY | {"learning": st.just(False), "one_spike": st.just(False)},
    neurons.McCullochPitts: {"thresh": each(0.5, 9)},
    neurons.Heaviside: {"thresh": each(0.5, 9)},
    neurons.Integrator: MAYBE | {"decay": each(2.0**-13, 0.9990234375), "gain": st.none() | each(-2, 2)},
    neurons.CurrentIntegrator: MAYBE
    | {
        "decay": each(2.0**-13, 0.9990234375),
        "gain": each(-2, 2),
        "i_decay": each(2.0**-13, 0.9990234375),
        "i_gain": each(-2, 2),
    },
    neurons.DifferenceLIFNodes: FIRING | MAYBE | {"decay": each(2.0**-13, 0.9990234375), "gain": st.none() | each(-2, 2)},
    neurons.DifferenceCurrentLIFNodes: FIRING
    | MAYBE
    | {"decay": each(2.0**-13, 0.9990234375), "gain": each(-2, 2), "i_decay": DECAY, "i_gain": st.none()},
}


@pytest.mark.parametrize("one_step", [True, False])
@pytest.mark.parametrize("cls", CLASSES)
def test_neurons(cls: type[neurons.Nodes], one_step: bool) -> None:
    fired = []

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.fixed_dictionaries(CLASSES[cls]), st.sampled_from([1.0, 0.5, 0.1]), st.integers(0, 1000))
    def compare(options: dict[str, Any], dt: float, seed: int) -> None:
        torch.manual_seed(seed)
        network = Network(one_step=one_step)
        network.add_layer(neurons.Input(n=3, dt=dt), "X")
        neuron = cls(n=N, dt=dt, **options)
        if isinstance(neuron, neurons.AdaptiveLIFNodes):
            neuron.theta.copy_(torch.rand(N))
        network.add_layer(neuron, "cell")
        network.add_connection(Dense(6 * torch.rand(3, N), torch.rand(N)), "X", "cell")
        if not neuron.graded:  # graded outputs in a loop would diverge
            network.add_connection(Dense(torch.randn(N, N)), "cell", "cell")
        restored = round_trip(network).network
        assert restored.contract.dt == dt
        fired.append(assert_equal_outputs(network, restored, spikes(3))["cell.s"].float().abs().mean())

    compare()
    assert torch.stack(fired).mean() > 0.02


@pytest.mark.parametrize("one_step", [True, False])
def test_connections(one_step: bool) -> None:
    torch.manual_seed(2)
    network = Network(one_step=one_step, record=["mean.s"])
    lif = {"decay": 0.75, "thresh": 0.5, "reset": 0.0}
    network.add_layer(neurons.Input(shape=(2, 6, 6)), "X")
    network.add_layer(neurons.DifferenceLIFNodes(shape=(4, 4, 4), **lif), "conv")
    network.add_layer(neurons.DifferenceLIFNodes(shape=(4, 2, 2), **lif), "sum")
    network.add_layer(neurons.Relay(shape=(4, 2, 2)), "mean")
    network.add_layer(neurons.DifferenceLIFNodes(n=16, **lif), "flat")
    network.add_layer(neurons.DelayLine(n=16, delay=torch.arange(16.0)), "late")
    network.add_layer(neurons.DifferenceLIFNodes(n=5, **lif), "out")
    sizes = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    network.add_connection(Conv2d(torch.randn(4, 1, 2, 2), torch.randn(4), **sizes), "X", "conv")
    network.add_connection(SumPool2d(2), "conv", "sum")
    network.add_connection(AvgPool2d((2, 3), 2, (0, 1)), "conv", "mean")
    network.add_connection(OneToOne(torch.rand(4, 2, 2)), "mean", "sum")
    network.add_connection(Reshape(), "mean", "flat")
    network.add_connection(OneToOne(1.0), "flat", "late")
    network.add_connection(Dense(torch.randn(16, 5)), "late", "out")
    network.add_connection(Sparse((torch.rand(72, 5) < 0.1) * torch.randn(72, 5)), "X", "out")
    network.add_connection(OneToOne(-0.5), "out", "out")
    network.add_connection(Dense(torch.randn(5, 16)), "out", "flat")  # a loop
    outputs = assert_equal_outputs(network, round_trip(network).network, spikes(2, 6, 6))
    assert all(values.float().abs().mean() > 0.002 for values in outputs.values())


def test_one_dimension_and_two_graded_inputs() -> None:
    torch.manual_seed(2)
    network = Network(one_step=True)
    network.add_layer(neurons.Relay(shape=(2, 9)), "a", external=True)
    network.add_layer(neurons.DifferenceLIFNodes(shape=(3, 4), decay=0.75, reset=0.0), "cell", external=True)
    network.add_connection(Conv1d(torch.randn(3, 2, 3), stride=2), "a", "cell")
    a, cell = torch.randn(STEPS, BATCH, 2, 9), torch.randn(STEPS, BATCH, 3, 4)
    assert_equal_outputs(network, round_trip(network).network, a, cell)


def test_delays_in_series_and_in_a_loop() -> None:
    torch.manual_seed(2)
    for one_step in (True, False):
        network = Network(one_step=one_step)
        network.add_layer(neurons.Input(n=N), "X")
        for name, delay in (("a", 2.0), ("b", 1.0), ("c", 0.0)):
            network.add_layer(neurons.DelayLine(n=N, delay=delay), name)
        network.add_layer(neurons.DifferenceLIFNodes(n=N, thresh=0.5, decay=0.5, reset=0.0), "out")
        for source, target in (("X", "c"), ("c", "b"), ("b", "a"), ("a", "out"), ("out", "b")):
            network.add_connection(OneToOne(0.5 if target == "b" else 1.0), source, target)
        once = round_trip(network).network
        assert_equal_outputs(network, once, spikes(N))
        assert_equal_outputs(once, round_trip(once).network, spikes(N))


@pytest.mark.parametrize(
    ("reset", "options"),
    [
        ("subtract after leak", {"convention": "snntorch"}),
        ("subtract", {"reset": "subtract"}),
        ("value after leak", {"reset": "value after leak"}),
        ("subtract", {"convention": "sinabs"}),
        ("value", {"convention": "norse"}),
        ("value", {"convention": "spikingjelly"}),
        ("value", {"convention": "exponential"}),
    ],
)
def test_conventions(reset: str, options: dict[str, Any]) -> None:
    torch.manual_seed(4)
    network = Network(one_step=True)
    value = {"reset": 0.25} if reset.startswith("value") else {"inclusive": options.get("convention") == "sinabs"}
    firing = value | {"reset_after": "leak" if reset.endswith("leak") else "spike", "thresh": 0.75}
    network.add_layer(neurons.Input(n=3), "X")
    network.add_layer(neurons.DifferenceLIFNodes(n=N, decay=torch.rand(N), gain=torch.rand(N), **firing), "a")
    network.add_layer(
        neurons.DifferenceCurrentLIFNodes(n=N, decay=torch.rand(N), i_decay=torch.rand(N), i_gain=0.5, **firing), "b"
    )
    network.add_layer(neurons.Integrator(n=N, decay=torch.rand(N), gain=2.0), "out")
    network.add_connection(Dense(torch.randn(3, N)), "X", "a")
    network.add_connection(Dense(torch.randn(N, N)), "a", "b")
    network.add_connection(Dense(torch.randn(N, N)), "b", "out")
    restored = round_trip(network, **options)
    assert_equal_outputs(network, restored.network, spikes(3))
    assert isinstance(restored.network.layers["X"].neuron, neurons.Input)
    for name in ("a", "b", "out"):
        kept = restored.network.layers[name].neuron.state_dict()
        for key in ("decay", "gain", "i_decay", "i_gain"):
            if key in kept:
                assert torch.equal(kept[key], network.layers[name].neuron.state_dict()[key]), (name, key)


def test_a_converted_rate_network() -> None:
    """Neurons that subtract their threshold, as BindsNET's converted networks have, round-trip with Sinabs' convention."""
    torch.manual_seed(5)
    network = Network(one_step=True)
    network.add_layer(neurons.Input(n=3), "X")
    options = {"thresh": torch.rand(N) + 0.5, "reset": 0.0, "refrac": 0.0}
    for name in ("a", "b"):
        network.add_layer(neurons.SubtractiveResetIFNodes(n=N, **options), name)
    network.add_connection(Dense(torch.randn(3, N), torch.rand(N)), "X", "a")
    network.add_connection(Dense(torch.randn(N, N)), "a", "b")
    assert assert_equal_outputs(network, round_trip(network, convention="sinabs").network, spikes(3))["b.s"].any()
    with pytest.raises(
        InvalidInput, match=r"layer 'a' \(SubtractiveResetIFNodes\): it subtracts its threshold, which must"
    ):
        round_trip(network, reset="subtract")
    network.layers["a"].neuron.reset.fill_(0.25)
    with pytest.raises(InvalidInput, match="starts elsewhere than at its reset"):
        round_trip(network, convention="sinabs")


def rejected(*parts: Any, **options: object) -> str:
    network = Network(one_step=True)
    network.add_layer(neurons.Input(shape=(1, 4, 4)), "X")
    for index, part in enumerate(parts):
        if isinstance(part, neurons.Nodes):
            network.add_layer(part, f"layer{index}")
    target = next(name for name in network.layers if name != "X")
    wire = next((part for part in parts if not isinstance(part, neurons.Nodes)), Dense(torch.rand(16, 4)))
    network.add_connection(wire, "X", target)
    with pytest.raises(InvalidInput) as message:
        round_trip(network, **options)
    assert "\n" not in str(message.value)
    return str(message.value)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([neurons.LIFNodes(4)], "layer 'layer0' (LIFNodes): a refractory period has no counterpart"),
        ([neurons.LIFNodes(4, refrac=0, lbound=-70.0)], "a lower bound has no counterpart"),
        ([neurons.LIFNodes(4, refrac=0, traces=True)], "traces=True has no counterpart"),
        ([neurons.LIFNodes(4, refrac=0, sum_input=True)], "sum_input=True has no counterpart"),
        ([neurons.AdaptiveLIFNodes(4, refrac=0)], "a threshold that adapts has no counterpart"),
        ([neurons.DiehlAndCookNodes(4, refrac=0, learning=False)], "winner-take-all has no counterpart"),
        ([neurons.IzhikevichNodes(4)], "layer 'layer0' (IzhikevichNodes): this neuron has no counterpart in NIR"),
        ([neurons.SRM0Nodes(4)], "this neuron has no counterpart in NIR"),
        ([neurons.CSRMNodes(4)], "this neuron has no counterpart in NIR"),
        ([neurons.DifferenceLIFNodes(4, decay=0.5)], "its reset is 'subtract', and NIR's goes to v_reset at once"),
        ([neurons.DifferenceLIFNodes(4, decay=1.5, reset=0.0)], "its decay is not between 0 and 1"),
        ([neurons.DifferenceLIFNodes(4, decay=1e-12, reset=0.0)], "its decay is so small"),
        ([neurons.DifferenceLIFNodes(4, decay=1.0, gain=0.5, reset=0.0)], "without a decay its gain must be 1"),
        ([neurons.DifferenceLIFNodes(4, rest=1.0, reset=0.0)], "starts elsewhere than at its reset"),
        ([neurons.Integrator(4, rest=1.0)], "does not start at 0"),
        ([neurons.DifferenceLIFNodes(shape=(1, 4, 4), reset=0.0), Lateral(-1.0)], "connection 'X_to_layer0' (Lateral)"),
        ([neurons.DifferenceLIFNodes(4, reset=0.0), MeanField(1.0)], "(MeanField) has no counterpart"),
        ([neurons.DifferenceLIFNodes(4, reset=0.0), StochasticDense(torch.rand(16, 4), 0.5)], "takes noise, which has no"),
        ([neurons.DifferenceLIFNodes(shape=(1, 2, 2), reset=0.0), MaxPool2d(2)], "(MaxPool2d) has no counterpart"),
        ([neurons.DifferenceLIFNodes(shape=(2, 2), reset=0.0), Dense(torch.rand(16, 4))], "nothing that unfolds"),
        ([neurons.DifferenceLIFNodes(shape=(4, 4), reset=0.0), Reshape()], "nothing that unfolds"),
    ],
)
def test_parts_without_a_counterpart_in_nir(parts: list[Any], sentence: str) -> None:
    assert sentence in rejected(*parts)


def test_a_convolution_in_three_dimensions_has_no_counterpart() -> None:
    network = Network(one_step=True)
    network.add_layer(neurons.Input(shape=(1, 2, 2, 2)), "X")
    network.add_layer(neurons.IFNodes(shape=(1, 1, 1, 1), refrac=0), "cell")
    network.add_connection(Conv3d(torch.rand(1, 1, 2, 2, 2)), "X", "cell")
    with pytest.raises(InvalidInput, match=r"connection 'X_to_cell' \(Conv3d\) has no counterpart in NIR"):
        round_trip(network)


def test_a_recorded_state_has_no_counterpart() -> None:
    network = Network(one_step=True, record=["cell.v"])
    network.add_layer(neurons.IFNodes(n=1, refrac=0), "cell", external=True)
    with pytest.raises(InvalidInput, match=r"record='cell\.v' has no counterpart in NIR"):
        round_trip(network)


def test_meaning_of_the_file(tmp_path: Path) -> None:
    """The file has NIR's meaning: tau = dt / (1 - decay), and a threshold one ulp lower, since NIR's comparison is ">"."""
    network = Network(one_step=False)
    network.add_layer(neurons.Input(n=2), "X")
    network.add_layer(neurons.LIFNodes(n=2, refrac=0, tc_decay=10.0), "cell")
    network.add_connection(Dense(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), "X", "cell")
    write_nir(network, tmp_path / "ours.nir")
    graph = nir.read(tmp_path / "ours.nir")
    cell = graph.nodes["cell"]
    decay = torch.exp(torch.tensor(-0.1)).double()
    assert cell.tau.tolist() == pytest.approx([1e-3 / (1 - float(decay))] * 2, rel=1e-12)
    assert cell.tau[0] != pytest.approx(10e-3, rel=1e-3)
    assert (cell.v_threshold < -52).all()
    assert (cell.v_threshold.astype("float32") == torch.nextafter(torch.tensor(-52.0), torch.tensor(-100.0)).numpy()).all()
    assert graph.nodes["X_late"].delay.tolist() == [1e-3, 1e-3]
    assert graph.nodes["X_to_cell"].weight.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert set(graph.edges) == {("X", "X_late"), ("X_late", "X_to_cell"), ("X_to_cell", "cell"), ("cell", "cell_output")}
