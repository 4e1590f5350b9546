"""Options that writers of NIR omit from their files: checked with the writers themselves, and reported to the reader."""

import warnings
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.connect import connect
from deploy_snn.importers.nir import read_nir
from deploy_snn.importers.nir.convention import CONVENTIONS
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes

from .nir_runs import foreign_code, steps, through_file

with foreign_code():
    import norse.torch as norse
    import snntorch
    from snntorch.export_nir import export_to_nir
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import to_nir as from_spikingjelly

HERE = Path(__file__).parent
STEPS, BATCH = 300, 3


def equal_graphs(first: nir.NIRGraph, second: nir.NIRGraph) -> bool:
    """Return whether two graphs have equal nodes."""
    nodes = zip(first.nodes.values(), second.nodes.values(), strict=True)
    return all(
        type(a) is type(b) and all(np.array_equal(vars(a)[key], vars(b)[key]) for key in vars(a) if key not in SHAPES)
        for a, b in nodes
    )


SHAPES = ("input_type", "output_type", "metadata")


def snntorch_graph(**options: object) -> nir.NIRGraph:
    beta = torch.full((4,), 0.9)
    with foreign_code():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), snntorch.Leaky(beta=beta, threshold=beta, init_hidden=True, **options))
        return export_to_nir(model, torch.zeros(1, 3), ignore_dims=[0])


def norse_graph(dt: float = 0.001, v_reset: float = 0.0) -> nir.NIRGraph:
    own = {"tau_mem_inv": torch.full((4,), 100.0), "v_leak": torch.zeros(4), "v_th": torch.ones(4)}
    p = norse.LIFBoxParameters(**own, v_reset=torch.full((4,), v_reset))
    with foreign_code():
        torch.manual_seed(0)
        return norse.to_nir(norse.SequentialState(nn.Linear(3, 4), norse.LIFBoxCell(p, dt=dt)), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("convention", "option", "write_both"),
    [
        ("snntorch", "reset_mechanism", lambda: (snntorch_graph(), snntorch_graph(reset_mechanism="none"))),
        ("snntorch", "reset_delay=False", lambda: (snntorch_graph(), snntorch_graph(reset_delay=False))),
        ("snntorch", "graded_spikes_factor", lambda: (snntorch_graph(), snntorch_graph(graded_spikes_factor=3.0))),
        ("snntorch", "inhibition=True", lambda: (snntorch_graph(), snntorch_graph(inhibition=True))),
        ("norse", "v_reset", lambda: (norse_graph(), norse_graph(v_reset=-0.5))),
        ("norse", "dt of a cell", lambda: (norse_graph(), norse_graph(dt=0.01))),
    ],
)
def test_omitted_options(convention: str, option: str, write_both: object, tmp_path: Path) -> None:
    """Two models that differ in one option give the same file, and the importer notes that the option is omitted."""
    plain, changed = write_both()
    assert equal_graphs(plain, changed)
    notes = [note for note in through_file(changed, tmp_path, convention=convention).notes if option in note]
    assert notes
    assert notes[-1].startswith(f"not in a file of {convention}: ")


def test_equal_graphs_finds_a_difference() -> None:
    first, second = snntorch_graph(), snntorch_graph()
    assert equal_graphs(first, second)
    next(iter(node for node in second.nodes.values() if isinstance(node, nir.LIF))).tau[0] *= 2
    assert not equal_graphs(first, second)


def test_the_table_is_documented() -> None:
    page = (HERE.parent.parent / "docs" / "nir.md").read_text()
    for name, convention in CONVENTIONS.items():
        assert f"`{name}`" in page
        for what in convention.silent:
            assert what in page, what


def simulate(model: nn.Module, x: Tensor) -> Tensor:
    with foreign_code():
        for module in model.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        return torch.stack([model(step) for step in x])


def leaky(n: int, **options: object) -> snntorch.Leaky:
    return snntorch.Leaky(
        beta=torch.linspace(0.7, 0.95, n), threshold=torch.linspace(0.6, 1, n), init_hidden=True, **options
    )


def test_no_reset_and_resets_by_layer(tmp_path: Path) -> None:
    """Layers with different resets, set by the option, give the spikes of snnTorch's own simulation."""
    torch.manual_seed(0)
    current = snntorch.Synaptic(
        alpha=torch.full((12,), 0.7),
        beta=torch.full((12,), 0.8),
        threshold=torch.ones(12),
        init_hidden=True,
        reset_mechanism="zero",
    )
    model = nn.Sequential(
        nn.Linear(10, 30),
        leaky(30, reset_mechanism="none"),
        nn.Linear(30, 20),
        leaky(20, reset_mechanism="zero"),
        nn.Linear(20, 12),
        current,
        nn.Linear(12, 8),
        leaky(8),
    )
    x = 2 * torch.randn(STEPS, BATCH, 10)
    with foreign_code():
        graph = export_to_nir(model, torch.zeros(1, 10), ignore_dims=[0])
    resets = {"1": "none", "3": "value", "5": "value after leak"}
    imported = through_file(graph, tmp_path, convention="snntorch", reset=resets)
    spikes = simulate(model, x)
    assert 50 < spikes.sum() < 0.9 * spikes.numel()
    assert torch.equal(steps(imported.network, x)["n7.s"].float(), spikes)
    otherwise = through_file(graph, tmp_path, convention="snntorch", reset=resets | {"1": "subtract after leak"})
    assert not torch.equal(steps(otherwise.network, x)["n7.s"].float(), spikes)
    for wrong, words in (({"2": "none"}, "no node '2' fires; choose from 1, 3, 5, 7"), ({"1": "slowly"}, "reset=slowly")):
        with pytest.raises(InvalidInput, match=words):
            through_file(graph, tmp_path, convention="snntorch", reset=wrong)


def test_no_reset_for_all(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 30), leaky(30, reset_mechanism="none"))
    x = torch.randn(STEPS, BATCH, 10)
    with foreign_code():
        graph = export_to_nir(model, torch.zeros(1, 10), ignore_dims=[0])
    imported = through_file(graph, tmp_path, convention="snntorch", reset="none")
    spikes = simulate(model, x)
    assert 50 < spikes.sum() < 0.9 * spikes.numel()
    assert torch.equal(steps(imported.network, x)["n1.s"].float(), spikes)


def test_spyx() -> None:
    """A file by spyx 1.0 with all its neurons gives the spikes that spyx computed (``spyx_writer.py``)."""
    network = read_nir(HERE / "spyx-1.0.nir", {"convention": "spyx"}).network
    recorded = load_file(HERE / "spyx-1.0.safetensors")
    found = steps(network, recorded["x"])
    for name in ("layer_1", "layer_3", "layer_5"):
        assert recorded[name].sum() > 100
        assert not recorded[name][0].any(), "spyx has a spike in its first step"
        assert torch.equal(found[f"{name}.s"][:-1], recorded[name][1:]), name
    assert recorded["layer_7"].sum() > 100
    assert torch.equal(found["layer_7_threshold.s"], recorded["layer_7"]), "the spikes of PSU_LIF differ"


def test_wrong_files_of_spyx_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"the loop layer_1\.layer_1\.w_rec.*it cannot be repaired"):
        read_nir(HERE / "spyx-1.0-recurrent.nir", {"convention": "spyx"})
    with pytest.raises(InvalidInput, match=r"its r is not its decay.*is dt=1 ms right"):
        read_nir(HERE / "spyx-1.0.nir", {"convention": "spyx", "dt": 1})
    image = nir.NIRGraph(
        {
            "input": nir.Input([2, 3, 3]),
            "flat": nir.Flatten(np.array([2, 3, 3]), 0, -1),
            "w": nir.Linear(np.ones((4, 18))),
            "output": nir.Output([4]),
        },
        [("input", "flat"), ("flat", "w"), ("w", "output")],
    )
    with pytest.raises(InvalidInput, match=r"'flat' \(Flatten\) flattens \[2, 3, 3\]: spyx does so with the channels last"):
        through_file(image, tmp_path, convention="spyx")


def test_silent_and_saturated_networks_are_reported(tmp_path: Path) -> None:
    """A file read with a wrong dt gives a network that never fires, or fires in almost every step; a note reports it."""
    torch.manual_seed(0)
    with foreign_code():
        model = nn.Sequential(layer.Linear(10, 20), neuron.LIFNode(tau=2.0), layer.Linear(20, 5), neuron.LIFNode(tau=2.0))
        for linear, factor in ((model[0], 6), (model[2], 20)):
            linear.weight *= factor
        graph = from_spikingjelly.export_to_nir(model, torch.zeros(1, 10), dt=1e-3)
    x = torch.rand(100, 2, 10)
    right = through_file(graph, tmp_path, convention="spikingjelly", dt=1.0)
    with foreign_code():
        functional.reset_net(model)
        spikes = torch.stack([model(step) for step in x])
    assert spikes.sum() > 50
    output = next(name for name in right.network.record)
    assert torch.equal(steps(right.network, x)[output].float(), spikes)
    assert not [note for note in right.notes if "random spikes" in note]
    mute = through_file(graph, tmp_path, convention="spikingjelly", dt=0.001)
    assert not steps(mute.network, x)[output].any()
    (note,) = [note for note in mute.notes if "random spikes" in note]
    assert "no neuron fires: check dt=0.001 ms and convention=spikingjelly" in note
    charge = nir.NIRGraph(
        {
            "input": nir.Input([12]),
            "cell": nir.IF(r=np.full(4, 1e6), v_threshold=np.ones(4), v_reset=np.zeros(4)),
            "w": nir.Linear(np.ones((4, 12))),
            "output": nir.Output([4]),
        },
        [("input", "w"), ("w", "cell"), ("cell", "output")],
    )
    (note,) = [note for note in through_file(charge, tmp_path, dt=1.0).notes if "random spikes" in note]
    assert "the neurons of cell fire in almost every step: check dt=1 ms and convention=euler" in note


def test_error_names_the_connection_of_the_file() -> None:
    network = Network()
    network.add_layer(Input(2), "X")
    network.add_layer(LIFNodes(2), "Y")
    with pytest.raises(InvalidInput) as raised:
        connect(network, Dense(torch.ones(2, 2)), "Y", "X")
    assert str(raised.value) == "the connection from 'Y' to 'X': 'X' is an Input layer, which cannot be a target"


def test_rockpool(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rockpool = pytest.importorskip("rockpool.nn.modules.torch.nir", reason="rockpool is not installed")
        from rockpool.nn.combinators import Sequential
        from rockpool.nn.modules import LIFTorch, LinearTorch
    torch.manual_seed(0)
    with foreign_code():
        parts = [
            LinearTorch((10, 20), has_bias=False),
            LIFTorch(20, tau_mem=20e-3, tau_syn=10e-3, dt=1e-3, max_spikes_per_dt=1),
            LinearTorch((20, 6), has_bias=False),
            LIFTorch(6, tau_mem=15e-3, tau_syn=5e-3, dt=1e-3, max_spikes_per_dt=1),
        ]
        for linear in parts[::2]:
            linear.weight.data *= 1.5
        model = Sequential(*parts)
        x = (torch.rand(BATCH, STEPS, 10) < 0.3).float()
        spikes = model(x)[0].transpose(0, 1)
        model.reset_state()
        graph = rockpool.to_nir(model)
    assert 50 < spikes.sum() < 0.9 * spikes.numel()
    imported = through_file(graph, tmp_path, convention="rockpool", dt=1.0)
    found = steps(imported.network, x.transpose(0, 1).contiguous())
    (output,) = imported.network.record
    assert torch.equal(found[output].float(), spikes)
