"""NIR files of snnTorch and norse: spikes equal their own simulation at every step."""

from pathlib import Path

import nir
import pytest
import torch
from torch import Tensor, nn

from deploy_snn.importers.imported import Imported
from deploy_snn.neurons import CurrentIntegrator, DifferenceCurrentLIFNodes, DifferenceLIFNodes, Integrator

from .nir_runs import foreign_code, steps, through_file

with foreign_code():
    import norse.torch as norse
    import snntorch
    from snntorch.export_nir import export_to_nir

STEPS, BATCH = 500, 4


def each(n: int, low: float, high: float | None = None) -> Tensor:
    return torch.linspace(low, low if high is None else high, n)


def drive(n: int) -> Tensor:
    return 2 * torch.randn(STEPS, BATCH, n)


def leaky(n: int, beta: float, high: float, **options: object) -> snntorch.Leaky:
    return snntorch.Leaky(beta=each(n, beta, high), threshold=each(n, 0.5, 1.0), init_hidden=True, **options)


def from_snntorch(model: nn.Module, sample: Tensor, folder: Path, **options: object) -> Imported:
    with foreign_code():
        graph = export_to_nir(model, sample, ignore_dims=[0])
        for module in model.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
    return through_file(graph, folder, convention="snntorch", **options)


def simulate(model: nn.Module, x: Tensor) -> Tensor:
    with foreign_code():
        return torch.stack([model(step) for step in x])


def assert_equal_spikes(imported: Imported, output: str, x: Tensor, spikes: Tensor) -> None:
    assert spikes.sum() > 50
    assert spikes.mean() < 0.9
    assert torch.equal(steps(imported.network, x)[output].float(), spikes)
    assert not imported.left_behind


@pytest.mark.parametrize(
    ("in_snntorch", "options"),
    [
        ({}, {}),
        ({"reset_mechanism": "zero"}, {"reset": "value"}),
        ({"reset_mechanism": "zero", "reset_delay": False}, {"reset": "value"}),
    ],
)
def test_leaky(in_snntorch: dict, options: dict, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = leaky(50, 0.9, 1.0, **in_snntorch), leaky(10, 0.2, 0.8, **in_snntorch)
    model = nn.Sequential(nn.Linear(20, 50), layers[0], nn.Linear(50, 10, bias=False), layers[1])
    imported = from_snntorch(model, torch.zeros(1, 20), tmp_path, **options)
    assert torch.equal(imported.network.layers["n1"].neuron.decay[:-1], layers[0].beta[:-1]), "beta is not kept exactly"
    x = drive(20)
    assert_equal_spikes(imported, "n3.s", x, simulate(model, x))


class Recurrent(nn.Module):
    """Recurrent layers with and without a synaptic current, with all-to-all or one-to-one weights."""

    def __init__(self, *, all_to_all: bool) -> None:
        super().__init__()
        own = {"all_to_all": False, "V": torch.randn(30)}
        self.encode = nn.Linear(20, 30)
        self.first = snntorch.RLeaky(0.9, init_hidden=True, **({"linear_features": 30} if all_to_all else own))
        self.between = nn.Linear(30, 10)
        self.second = snntorch.RSynaptic(0.7, 0.8, linear_features=10, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(self.encode(x))))


@pytest.mark.parametrize("all_to_all", [True, False])
def test_recurrent_and_synaptic(all_to_all: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Recurrent(all_to_all=all_to_all)
    imported = from_snntorch(model, torch.zeros(1, 20), tmp_path)
    assert "first.lif -> first.lif closes a loop, and acts one step later" in imported.notes
    x = drive(20)
    assert_equal_spikes(imported, "second_lif.s", x, simulate(model, x))


def test_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        snntorch.Leaky(beta=torch.full((4, 5, 4), 0.9), threshold=torch.full((4, 5, 4), 0.7), init_hidden=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
        leaky(10, 0.8, 0.9),
    )
    imported = from_snntorch(model, torch.zeros(1, 2, 9, 8), tmp_path)
    x = 2 * torch.randn(STEPS, BATCH, 2, 9, 8)
    assert_equal_spikes(imported, "n5.s", x, simulate(model, x))


def box(n: int, threshold: float) -> norse.LIFBoxCell:
    p = norse.LIFBoxParameters(tau_mem_inv=each(n, 60.0, 150.0), v_leak=each(n, 0.0, 0.02), v_th=each(n, threshold))
    return norse.LIFBoxCell(p)


def with_current(n: int, threshold: float) -> norse.LIFCell:
    p = norse.LIFParameters(
        tau_mem_inv=each(n, 60.0, 110.0), tau_syn_inv=each(n, 150.0, 250.0), v_leak=each(n, 0.0), v_th=each(n, threshold)
    )
    return norse.LIFCell(p)


def iaf(n: int, threshold: float) -> norse.IAFCell:
    return norse.IAFCell(norse.IAFParameters(v_th=each(n, threshold)))


def readout(n: int) -> norse.LIBoxCell:
    return norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=each(n, 50.0, 100.0), v_leak=each(n, 0.0)))


@pytest.mark.parametrize(
    ("cell", "threshold", "kind"),
    [
        (box, 0.05, DifferenceLIFNodes),
        (with_current, 0.05, DifferenceCurrentLIFNodes),
        (iaf, 2.0, DifferenceLIFNodes),
    ],
)
def test_norse(cell: object, threshold: float, kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cells = cell(50, threshold), cell(30, threshold), readout(10)
    weights = nn.Linear(20, 50), nn.Linear(50, 30), nn.Linear(30, 10)
    model = norse.SequentialState(*(part for pair in zip(weights, cells, strict=True) for part in pair))
    x = drive(20)
    with foreign_code():
        graph = norse.to_nir(model, torch.zeros(1, 20))
        states: list = [None, None, None]
        spikes, values = [], []
        for step in x:
            signal = step
            for index, (w, neuron) in enumerate(zip(weights, cells, strict=True)):
                signal, states[index] = neuron(w(signal), states[index])
                (values if index == 2 else spikes).append(signal.to_dense())
    imported = through_file(graph, tmp_path, convention="norse")
    neurons = [imported.network.layers[name].neuron for name in ("n1", "n3", "n5")]
    assert [type(neuron) for neuron in neurons] == [kind, kind, Integrator]
    assert_equal_spikes(imported, "n1.s", x, torch.stack(spikes[::2]))
    assert_equal_spikes(imported, "n3.s", x, torch.stack(spikes[1::2]))
    torch.testing.assert_close(steps(imported.network, x)["n5.s"], torch.stack(values), rtol=1e-5, atol=1e-6)


def test_batch_axis_of_an_input_is_reported(tmp_path: Path) -> None:
    with foreign_code():
        graph = norse.to_nir(norse.SequentialState(nn.Linear(3, 2), box(2, 0.1)), torch.zeros(1, 3))
    imported = through_file(graph, tmp_path, convention="norse")
    assert imported.network.layers["input"].shape == (3,)
    assert "input 'input' is [1, 3]: its first axis is taken for the writer's batch" in imported.notes


def test_conventions_differ(tmp_path: Path) -> None:
    """The same file gives different spikes with each convention."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 50), leaky(50, 0.9, 0.95))
    x = drive(20)
    rates = {}
    for name in ("snntorch", "spikingjelly", "norse"):
        with foreign_code():
            graph = export_to_nir(model, torch.zeros(1, 20), ignore_dims=[0])
        imported = through_file(graph, tmp_path, convention=name, **({"dt": 0.1} if name != "norse" else {"dt": 0.001}))
        rates[name] = float(steps(imported.network, x)["n1.s"].float().mean())
    assert len({round(rate, 3) for rate in rates.values()}) == 3, rates


def test_two_outputs_and_a_current_without_threshold(tmp_path: Path) -> None:
    """Nodes that no writer here uses: CubaLI, and an output after a linear node."""
    ones = torch.ones(3).numpy()
    graph = nir.NIRGraph(
        {
            "in": nir.Input([3]),
            "cell": nir.CubaLI(tau_syn=ones, tau_mem=2 * ones, r=ones, v_leak=0 * ones, w_in=ones),
            "w": nir.Linear(torch.eye(3).numpy() * 2),
            "out": nir.Output([3]),
            "out2": nir.Output([3]),
        },
        [("in", "cell"), ("cell", "w"), ("w", "out2"), ("cell", "out")],
    )
    imported = through_file(graph, tmp_path, dt=100)
    assert isinstance(imported.network.layers["cell"].neuron, CurrentIntegrator)
    outputs = steps(imported.network, torch.randn(20, 2, 3))
    assert torch.equal(outputs["out2.s"], 2 * outputs["cell.s"])
    assert outputs["out2.s"].abs().max() > 0
