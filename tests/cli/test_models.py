"""The argument MODEL on the command line, and the options of models."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.eager import to_numpy
from deploy_snn.importers import load_model
from deploy_snn.reference import reference_program

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("word", ["lif", "LIF", "LIFNodes", "lifnodes"])
def test_find_neuron_by_either_name(word: str) -> None:
    assert load_model(word, {"n": 3}).name == "lif"


@pytest.mark.parametrize("word", ["current-lif", "current_lif", "CurrentLIFNodes"])
def test_names_of_two_words(word: str) -> None:
    assert load_model(word, {"n": 3}).name == "current-lif"


def test_options(tmp_path: Path, command: Command) -> None:
    options = ("--shape", "2,3", "--dt", 0.5, "--set", "thresh=-50", "--set", "traces=true", "--set", "lbound=None")
    each = ("--set", "refrac=[1, 2, 3]")
    assert command("export", "lif", *options, *each, "--format", "onnx", "-o", tmp_path / "b")[0] == 0
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.contract.dt == 0.5
    assert bundle.contract.inputs[0].shape(batch=1) == (1, 2, 3)
    assert [spec.name for spec in bundle.contract.states] == ["v", "refrac_count", "trace"]
    parameters = bundle.parameters()
    assert parameters["neuron.thresh"] == -50
    assert parameters["neuron.refrac"].tolist() == [1, 2, 3]
    program = reference_program(bundle)
    assert program.contract == bundle.contract
    assert {name: array.tolist() for name, array in to_numpy(program.state_dict()).items()} == {
        name: array.tolist() for name, array in parameters.items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lfi"], "unknown neuron 'lfi'; choose from input, mcculloch-pitts, if, lif"),
        (["lif", "--set", "tresh=1"], "LIFNodes has no option tresh; it has .*thresh"),
        (["lif", "--set", "thresh"], "expected KEY=VALUE"),
        (["lif", "--set", "thresh=high"], r"thresh=high\): expected a number"),
        (["lif", "--n", "3", "--shape", "2,2"], "contradict each other"),
        (["lif", "--shape", "two"], "such as --shape 8,8"),
        (["lif", "--dt", "0"], "must be greater than 0"),
        (["lif", "--format", "tflite"], "unknown format 'tflite'; choose from onnx, torchscript, pt2"),
        (["lif", "--format", ","], "empty list of names"),
        (["lif", "--opset", "3"], "opset=3: expected 18 to 25"),
        (["lif", "--snap-weights", "8"], "lif is a single neuron class and has no weights to round"),
        (["missing.py"], "missing.py does not exist"),
        (["csrm", "--set", "responseKernel=Alpha"], "unknown kernel 'Alpha'; choose from AlphaKernel"),
        (["izhikevich", "--set", "spike_at=middle"], "expected 'start' or 'end'"),
    ],
)
def test_invalid_arguments(arguments: list[str], message: str, tmp_path: Path, command: Command) -> None:
    status, _, error = command("export", *arguments, "-o", tmp_path / "b")
    assert status == 2
    assert error.startswith("deploy-snn: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert list(tmp_path.iterdir()) == []


DEFINITIONS = {
    "good": "from deploy_snn.neurons import IFNodes\ndef build(n=4, thresh=-52.0):\n return IFNodes(n, thresh=thresh)\n",
    "no_build": "x = 1\n",
    "raises": "def build():\n    raise RuntimeError('no weights')\n",
    "returns": "def build():\n    return 3\n",
    "broken": "def build(:\n",
}


@pytest.fixture
def definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in DEFINITIONS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_definition(definitions: Path, command: Command) -> None:
    assert command("export", "good.py", "--n", 5, "--set", "thresh=-40")[0] == 0
    bundle = Bundle.open(definitions / "bundles" / "good")
    assert bundle.parameters()["neuron.thresh"] == -40
    assert command("parity", "bundles/good", "--steps", 20, "--runtime", "onnxruntime-cpu")[0] == 0


def test_missing_or_changed_definition(definitions: Path, command: Command) -> None:
    """parity rebuilds the program from the manifest, also if the definition has changed or is missing."""
    command("export", "good.py", "--n", 5)
    check = ("parity", "bundles/good", "--runtime", "torchscript,onnxruntime-cpu", "--steps", 20)
    (definitions / "good.py").write_text("def build():\n    raise RuntimeError('nobody calls this')\n")
    assert command(*check)[0] == 0
    (definitions / "good.py").unlink()
    status, shown, _ = command(*check)
    assert status == 0
    assert "Against eager torch" in shown


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_build", [], "does not define build()"),
        ("raises", [], "build() failed: RuntimeError: no weights"),
        ("returns", [], "build() returned a int"),
        ("broken", [], "cannot be run: SyntaxError"),
        ("good", ["--set", "tresh=1"], "does not accept these options"),
    ],
)
def test_invalid_definitions(name: str, options: list, message: str, definitions: Path, command: Command) -> None:
    status, _, error = command("export", f"{name}.py", *options)
    assert status == 2
    assert message in error
    assert not (definitions / "export").exists()
