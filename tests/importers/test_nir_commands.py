"""NIR files on the command line: import, export, parity, and errors."""

import pickle
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.importers import load_model
from deploy_snn.importers.nir import read_nir
from deploy_snn.network import Network
from deploy_snn.reference import reference_program

from .nir_runs import steps

Command = Callable[..., tuple[int, str, str]]


def every_node() -> nir.NIRGraph:
    """Every node of NIR 1.0 in one graph, with a subgraph in a loop, and two outputs."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (64 * rng.standard_normal(shape)).round() / 64

    def each(low: float, high: float, *shape: int) -> np.ndarray:
        return np.linspace(low, high, int(np.prod(shape))).reshape(shape)

    ones, zeros, pair = np.ones(5), np.zeros(5), np.array([2, 2])
    fires = {"v_threshold": each(0.5, 1, 5), "v_reset": zeros}
    leaks = {"r": 2 * ones, "v_leak": zeros}
    inner = nir.NIRGraph(
        {
            "input": nir.Input([5]),
            "cell": nir.CubaLIF(tau_syn=4e-3 * ones, tau_mem=8e-3 * ones, w_in=2 * ones, **leaks, **fires),
            "back": nir.Linear(weights(5, 5)),
            "output": nir.Output([5]),
        },
        [("input", "cell"), ("cell", "back"), ("back", "cell"), ("cell", "output")],
    )
    nodes = {
        "pixels": nir.Input([1, 8, 8]),
        "conv": nir.Conv2d((8, 8), weights(2, 1, 3, 3), 1, 1, 1, 1, weights(2)),
        "if": nir.IF(r=1e3 * each(0.5, 1, 2, 8, 8), v_threshold=np.ones((2, 8, 8)), v_reset=np.zeros((2, 8, 8))),
        "sum": nir.SumPool2d(pair, pair, 0 * pair),
        "mean": nir.AvgPool2d(pair, pair, 0 * pair),
        "flat": nir.Flatten(np.array([2, 2, 2]), 0, -1),
        "affine": nir.Affine(weights(5, 8), weights(5)),
        "threshold": nir.Threshold(0.25 * ones),
        "scale": nir.Scale(each(0.5, 1.5, 5)),
        "inner": inner,
        "late": nir.Delay(np.array([0, 1, 2, 3, 1]) * 1e-3),
        "lif": nir.LIF(tau=4e-3 * ones, **leaks, **fires),
        "line": nir.Input([2, 9]),
        "conv1": nir.Conv1d(9, weights(1, 2, 5), 1, 0, 1, 1, weights(1)),
        "flat1": nir.Flatten(np.array([1, 5]), 0, -1),
        "i": nir.I(r=125 * ones),
        "li": nir.LI(tau=8e-3 * ones, **leaks),
        "cuba": nir.CubaLI(tau_syn=4e-3 * ones, tau_mem=8e-3 * ones, w_in=ones, **leaks),
        "fired": nir.Output([5]),
        "read": nir.Output([5]),
        "sum_of_all": nir.Output([5]),
    }
    chains = [
        "pixels conv if sum mean flat affine threshold scale inner late lif fired",
        "line conv1 flat1 lif",
        "lif li read",
        "lif cuba read",
        "lif i sum_of_all",
    ]
    edges = [edge for words in map(str.split, chains) for edge in pairwise(words)]
    return nir.NIRGraph(nodes, edges, type_check=False)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nir.write("zoo.nir", every_node())
    return tmp_path


def test_import_writes_the_same_network(zoo: Path, command: Command) -> None:
    status, shown, _ = command("import", "zoo.nir", "--dt", 1, "-o", "mine")
    assert status == 0
    imported = read_nir(zoo / "zoo.nir", {"dt": 1.0})
    message = " ".join(shown.split())
    assert "inner.cell -> inner.cell closes a loop, and acts one step later" in message
    assert all(" ".join(sentence.split()) in message for sentence in (*imported.left_behind, *imported.notes))
    loaded = load_model("mine.py", {})
    mine, source = loaded.program, loaded.source
    assert source.kind == "file"
    assert isinstance(mine, Network)
    assert mine.contract == imported.network.contract
    drives = torch.randn(100, 2, 2, 9), 2 * torch.randn(100, 2, 1, 8, 8)  # in the order of the names: line, pixels
    ours, wanted = steps(mine, *drives), steps(imported.network, *drives)
    assert ours.keys() == wanted.keys()
    for name, values in wanted.items():
        assert torch.equal(ours[name], values), name
        assert values.float().abs().mean() > 0.01, name
    numbers = dict(imported.network.named_buffers())
    assert all(torch.equal(value, numbers[name]) for name, value in mine.named_buffers())


def test_every_node_on_every_runtime(zoo: Path, command: Command) -> None:
    formats = ("--format", "onnx,torchscript", "--golden-steps", 20)
    status, shown, _ = command("export", "zoo.nir", "--set", "dt=1", "-o", "b", "--snap-weights", 6, *formats)
    assert status == 0
    assert "read with convention=euler, reset=value and dt=1 ms" in shown
    bundle = Bundle.open(zoo / "b")
    assert bundle.manifest.source.kind == "import"
    assert reference_program(bundle).contract == bundle.contract
    assert "closes a loop" in command("inspect", "b")[1]
    status, shown, _ = command("parity", "b", "--steps", 40, "--batch", 2)
    assert status == 0
    assert re.search(r"all \d+ runs equal", shown)


def test_parity_of_a_nir_file(tmp_path: Path, command: Command) -> None:
    write_lif_graph(str(tmp_path / "net.nir"))
    options = ("--dt", 1, "--set", "input=spikes", "--runtime", "onnxruntime-cpu")
    assert command("parity", tmp_path / "net.nir", "--steps", 60, *options)[0] == 0


def write_lif_graph(path: str, **options: object) -> None:
    ones = np.ones(3)
    lif = nir.LIF(tau=4e-3 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=options.pop("v_reset", 0) * ones)
    nodes = {"in": nir.Input([3]), "lif": lif, "out": nir.Output([3])}
    nir.write(path, nir.NIRGraph(nodes, [("in", "lif"), ("lif", "out")], **options))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "does not state the length of a step, nor does convention=euler: set dt (in ms), or name the writer"),
        (["--dt", "0"], "dt=0.0: expected a number of ms greater than 0"),
        (["--set", "dt=soon"], "dt='soon': expected a number of ms"),
        (["--set", "dt=true"], "dt=True: expected a number of ms"),
        (["--dt", "5"], "node 'lif' (LIF): a time constant of 0.004 is shorter than a step"),
        (["--dt", "1", "--set", "tau=3"], "unknown option tau; a NIR file takes dt, convention, reset, input"),
        (["--set", "convention=snn-torch"], "unknown convention 'snn-torch'; choose from euler, exponential, snntorch"),
        (["--set", "convention=[1,2]"], "convention=[1, 2]: expected a word"),
        (["--dt", "1", "--set", "reset=never"], "reset=never: expected value, subtract"),
        (["--dt", "1", "--set", "input=currents"], "input=currents: expected values or spikes"),
    ],
)
@pytest.mark.parametrize("name", ["import", "export", "parity"])
def test_invalid_arguments(name: str, arguments: list[str], message: str, tmp_path: Path, command: Command) -> None:
    write_lif_graph(str(tmp_path / "net.nir"))
    status, _, error = command(name, tmp_path / "net.nir", *arguments)
    assert status == 2
    assert error.startswith("deploy-snn: ")
    assert error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]


def test_reset_that_does_not_fit_the_convention(tmp_path: Path, command: Command) -> None:
    write_lif_graph(str(tmp_path / "net.nir"), v_reset=-0.5)
    status, _, error = command("export", tmp_path / "net.nir", "--set", "convention=snntorch")
    assert status == 2
    assert "node 'lif' (LIF): it has a v_reset, and reset=subtract after leak subtracts the threshold" in error


@pytest.mark.parametrize("name", ["import", "export", "parity"])
def test_nir_is_not_installed(name: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lif_graph(str(tmp_path / "net.nir"))
    monkeypatch.setitem(sys.modules, "nir", None)
    status, _, error = command(name, tmp_path / "net.nir", "--dt", 1)
    assert status == 3
    assert error.startswith("deploy-snn: NIR files need nir: install the extra 'nir' of deploy-snn")
    assert error.count("\n") == 1


METADATA = [
    ({"convention": "brian"}, "unknown convention 'brian'"),
    ({"encoding": "rate"}, "its metadata under deploy_snn are not what this version writes"),
    ({"convention": np.ones((3, 3))}, "its metadata under deploy_snn are not what this version"),
    ({"dt": "soon"}, "dt='soon': expected a number of ms"),
    ({"dt": np.nan}, "expected a number of ms greater than 0"),
    (np.ones((3, 3)), "its metadata under deploy_snn are not what this version"),
]


@pytest.mark.parametrize(("written", "message"), METADATA)
def test_invalid_metadata(written: object, message: str, tmp_path: Path, command: Command) -> None:
    write_lif_graph(str(tmp_path / "net.nir"), metadata={"deploy_snn": written})
    status, _, error = command("export", tmp_path / "net.nir")
    assert status == 2
    assert error.count("\n") == 1
    assert message in error


class Trap:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, created: Path) -> None:
        self.created = created

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.created,)


@pytest.mark.parametrize("how", ["opaque", "bytes", "bytes of any length", "reference"])
def test_pickles_are_never_loaded(how: str, tmp_path: Path, command: Command) -> None:
    path, created = tmp_path / "net.nir", tmp_path / "mark"
    trap = np.frombuffer(pickle.dumps(Trap(created)), np.uint8)
    write_lif_graph(str(path))
    with h5py.File(path, "a") as file:
        group = file["node/nodes/lif"]
        del group["tau"]
        if how == "opaque":
            group["tau"] = np.void(trap.tobytes())
        elif how == "bytes":
            group["tau"] = trap
        elif how == "reference":
            group.create_dataset("tau", data=group["r"].ref, dtype=h5py.ref_dtype)
        else:
            group.create_dataset("tau", (3,), h5py.vlen_dtype(np.uint8))[0] = trap
    status, _, error = command("export", path, "--dt", 1)
    assert status == 2
    assert re.search(r"node '?lif|/lif/tau", error)
    assert error.count("\n") == 1
    assert not created.exists()


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J"])
def test_control_characters_in_names(name: str, tmp_path: Path, command: Command) -> None:
    """A name with control characters is rejected, and quoted in the error, so that it cannot control the terminal."""
    ones = np.ones(3)
    node = nir.Threshold(ones)
    nir.write(tmp_path / "a.nir", nir.NIRGraph({"in": nir.Input([3]), name: node}, [("in", name)], type_check=False))
    nir.write(tmp_path / "b.nir", nir.NIRGraph({"in": nir.Input([3])}, [("in", name)], type_check=False))
    for file in ("a.nir", "b.nir"):
        status, _, error = command("import", tmp_path / file, "--dt", 1)
        assert status == 2
        assert error.endswith(f"something is called {name!r}: expected printable text\n")
