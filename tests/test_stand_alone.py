"""A bundle is self-contained: parity passes after it has been moved, from any working directory."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import deploy_snn
from deploy_snn import neurons
from deploy_snn.bundle import Bundle
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.network import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Dense,
    Lateral,
    LocalConnection1d,
    LocalConnection2d,
    LocalConnection3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MeanField,
    Network,
    OneToOne,
    Reshape,
    Sparse,
    StochasticDense,
    SumPool2d,
    rebuild_program,
    structure_of,
)
from deploy_snn.neurons import GRADED_NEURONS, NEURONS, NeuronProgram
from deploy_snn.registry import CONNECTIONS

Command = Callable[..., tuple[int, str, str]]

OPTIONS = {
    "lif": {"shape": (2, 3), "thresh": torch.linspace(-55, -50, 3), "traces": True, "lbound": -70.0, "dt": 0.1},
    "diehl-and-cook": {"n": 4, "one_spike": False, "learning": False},
    "izhikevich": {"n": 5, "excitatory": 0.6, "spike_at": "end"},
    "csrm": {"n": 3, "res_window_size": 4, "responseKernel": "AlphaKernel", "tau": torch.tensor([1.0, 2.0, 3.0])},
    "difference-lif": {"n": 3, "reset": None, "reset_after": "leak", "decay": 0.5},
    "delay-line": {"n": 3, "delay": torch.tensor([0.0, 2.0, 1.0])},
}


@pytest.mark.parametrize("name", [*NEURONS, *GRADED_NEURONS])
def test_neuron_is_rebuilt_from_data(name: str) -> None:
    cls = NEURONS[name] if name in NEURONS else GRADED_NEURONS[name]
    torch.manual_seed(3)
    program = NeuronProgram(cls(**OPTIONS.get(name, {"n": 4})))
    for buffer in program.neuron.buffers():
        if buffer.is_floating_point() and buffer.dim() and name != "delay-line":
            buffer.mul_(1.25)  # other values than the constructor sets, as after learning
    check_rebuilt(program)


def check_rebuilt(program: object) -> None:
    """Check that a program rebuilt from its structure (as JSON) and its parameters equals the original."""
    structure = structure_of(program)
    structure = type(structure).model_validate_json(structure.model_dump_json())
    rebuilt = rebuild_program(structure, to_numpy(program.state_dict()))
    assert rebuilt.contract == program.contract
    expected, found = program.state_dict(), rebuilt.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert str(structure_of(rebuilt)) == str(structure)
    inputs = {spec.name: torch.rand(spec.shape(batch=2)) * 30 for spec in program.contract.inputs}
    one, other = program.initial_state(2), rebuilt.initial_state(2)
    for _ in range(4):
        a, one = program(inputs, one)
        b, other = rebuilt(inputs, other)
        assert all(torch.equal(a[key], b[key]) for key in a)


CASES = {
    "dense": (Dense(torch.rand(4, 3), torch.rand(3)), (4,), (3,)),
    "sparse": (Sparse(torch.rand(6, 5).relu() * (torch.rand(6, 5) < 0.3)), (6,), (5,)),
    "stochastic-dense": (StochasticDense(torch.rand(4, 3), torch.rand(4, 3)), (4,), (3,)),
    "one-to-one": (OneToOne(torch.rand(4)), (4,), (4,)),
    "lateral": (Lateral(-2.0), (4,), (4,)),
    "mean-field": (MeanField(torch.rand(3)), (4,), (3,)),
    "reshape": (Reshape(), (2, 3), (6,)),
    "conv1d": (Conv1d(torch.rand(2, 1, 3), stride=2), (1, 7), (2, 3)),
    "conv2d": (Conv2d(torch.rand(2, 1, 3, 3), torch.rand(2), padding=1), (1, 4, 4), (2, 4, 4)),
    "conv3d": (Conv3d(torch.rand(1, 1, 2, 2, 2), dilation=(1, 2, 1)), (1, 3, 3, 3), (1, 2, 1, 2)),
    "max-pool1d": (MaxPool1d(2, decay=0.25), (1, 6), (1, 3)),
    "max-pool2d": (MaxPool2d(2, 1), (1, 3, 3), (1, 2, 2)),
    "max-pool3d": (MaxPool3d(2), (1, 2, 2, 2), (1, 1, 1, 1)),
    "sum-pool2d": (SumPool2d((1, 2), padding=(0, 1)), (2, 2, 2), (2, 2, 2)),
    "avg-pool2d": (AvgPool2d(2), (2, 4, 4), (2, 2, 2)),
    "local1d": (LocalConnection1d(torch.rand(2, 6, 3), 3, 2), (2, 7), (2, 3)),
    "local2d": (LocalConnection2d(torch.rand(1, 4, 4), 2, 2), (1, 4, 4), (1, 2, 2)),
    "local3d": (LocalConnection3d(torch.rand(1, 1, 8), 2), (1, 2, 2, 2), (1, 1, 1, 1)),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connection_is_rebuilt_from_data(name: str) -> None:
    connection, source, target = CASES[name]
    network = Network(one_step=True, record=["out.v"])
    network.add_layer(neurons.Input(shape=source), "X")
    network.add_layer(neurons.IFNodes(shape=target), "out", external=True)
    network.add_connection(connection, "X", "out")
    check_rebuilt(network)


USER_DEFINED = """
import torch
from deploy_snn.contract import Rounding
from deploy_snn.network import Connection, Network
from deploy_snn.neurons import IFNodes, Input

class StubbornNodes(IFNodes):
    ROUNDING = ()
    def __init__(self, n=None, shape=None, *, stubborn=2, **options):
        super().__init__(n, shape, **options)
        self.stubborn = stubborn
    def integrate(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
        return state["v"] + torch.where(state["refrac_count"] <= 0, x / self.stubborn, 0.0)

class Flipped(Connection):
    EXACT = "always"
    def __init__(self, w):
        super().__init__()
        self.register_buffer("w", torch.as_tensor(w, dtype=torch.float32))
    def shape_error(self):
        return ""
    def transmit(self, z):
        return z.flip(1) * self.w

def build(n=4):
    network = Network()
    network.add_layer(Input(n=n), "X")
    network.add_layer(StubbornNodes(n=n, stubborn=4, thresh=-60.0), "own")
    network.add_connection(Flipped(12.0), "X", "own")
    return network
"""


def test_user_defined_classes_need_a_definition(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(USER_DEFINED)
    assert command("export", "own.py", "--n", 6, "-o", "own")[0] == 0
    (tmp_path / "own.py").rename(tmp_path / "elsewhere.py")
    run = ("parity", "own", "--steps", 30, "--runtime", "onnxruntime-cpu,torchscript")
    status, _, error = command(*run)
    assert status == 2
    assert "layer 'own': StubbornNodes is not a class of deploy_snn" in error
    assert "definition=FILE" in error
    status, shown, _ = command(*run, "--definition", "elsewhere.py")
    assert status == 0
    assert " 0 spikes in the references" not in shown
    (tmp_path / "wrong.py").write_text(USER_DEFINED.replace("x / self.stubborn", "x"))
    assert command(*run, "--definition", "wrong.py")[0] == 1


def test_code_that_torchscript_cannot_compile_is_an_error(tmp_path: Path, command: Command) -> None:
    (tmp_path / "own.py").write_text(USER_DEFINED.replace("z.flip(1)", "eval('z')"))
    status, _, error = command("export", tmp_path / "own.py", "-o", tmp_path / "own")
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith("deploy-snn: TorchScript cannot compile the model: ")
    assert command("export", tmp_path / "own.py", "-o", tmp_path / "own", "--format", "onnx,pt2")[0] == 0


def test_keyword_without_an_attribute_is_an_error() -> None:
    class Forgetful(neurons.IFNodes):
        ROUNDING = ()

        def __init__(self, n: int, *, charm: float = 1.0) -> None:
            super().__init__(n)

    with pytest.raises(InvalidInput, match=r"Forgetful has no attribute for its keyword 'charm'; set self.charm"):
        structure_of(NeuronProgram(Forgetful(3)))


def test_moved_bundle_passes_parity(tmp_path: Path, exported: Callable[..., Bundle]) -> None:
    """parity passes on a moved copy of a bundle, in a new process and an empty working directory."""
    models = Path(__file__).parent.parent / "models"
    original = exported(str(models / "diehl_cook_2015.py"), n=8, n_input=16, snap=12)
    copy = Path(shutil.copytree(original.path, tmp_path / "a" / "moved"))
    (tmp_path / "b").mkdir()
    code = "from deploy_snn.cli.main import main; main()"
    command = [sys.executable, "-c", code, "parity", str(copy), "--steps", "60", "--batch", "2"]
    done = subprocess.run(command, cwd=tmp_path / "b", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Against eager torch" in done.stdout
    assert re.search(r"all \d+ runs equal", done.stdout)


def test_the_manifest_shows_parameter_values(tmp_path: Path, command: Command) -> None:
    shown = {}
    for thresh in (-50, -52.3):
        deploy_snn.export(neurons.LIFNodes(n=3, thresh=thresh), tmp_path / "lif", formats=["onnx"], golden_steps=0)
        shown[thresh] = command("inspect", tmp_path / "lif")[1]
        assert f"neuron.thresh        {thresh:g}" in shown[thresh]
        assert Bundle.open(tmp_path / "lif").manifest.parameters["neuron.thresh"].value == thresh
    assert "golden: none" in shown[-50]
