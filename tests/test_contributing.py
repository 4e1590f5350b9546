"""The steps of CONTRIBUTING.md, followed in a copy of the package, are all that commands and tests need."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEP = re.compile(r"^New file `(?P<file>[^`]+)`:\n\n```python\n(?P<code>.*?)^```\n\nOne line in `(?P<registry>\w+)`:\n\n"
                  r"```python\n(?P<line>[^\n]+)\n```\n", re.MULTILINE | re.DOTALL)  # fmt: skip
NETWORK = """
import sys, torch, deploy_snn
from deploy_snn.importers import define
from deploy_snn.network import Network, Saturating
from deploy_snn.neurons import Input, QuadraticIFNodes

network = Network()
network.add_layer(Input(n=4), "X")
network.add_layer(QuadraticIFNodes(n=6), "out")
network.add_connection(Saturating(torch.arange(24.0).reshape(4, 6) - 4, limit=12.0), "X", "out")
bundle = deploy_snn.export(network, "net", golden_steps=0, formats=["onnx", "onnx-json"])
report = deploy_snn.verify(bundle, steps=50)
print(sorted({run.runtime for run in report.runs if run.mode == "free"}), report.equal, report.spikes > 0)
written = define(network, "As a file.")
print(next(line for line in written.text.splitlines() if "add_connection" in line))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its tests, with the examples of CONTRIBUTING.md added."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for folder in ("deploy_snn", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "trained"))
    steps = list(STEP.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    assert [step["registry"] for step in steps] == ["NEURONS", "CONNECTIONS", "RULES", "FORMATS", "RUNTIMES", "IMPORTERS"]
    registry = copy / "deploy_snn" / "registry.py"
    for step in steps:
        new = copy / step["file"]
        assert not new.exists()
        new.write_text(step["code"])
        text, places = re.subn(
            rf"^({step['registry']}: .*?\n)    }},\n", rf"\1        {step['line']}\n    }},\n", registry.read_text(),
            count=1, flags=re.MULTILINE | re.DOTALL,
        )  # fmt: skip
        assert places == 1
        registry.write_text(text)
    return copy


def run(copy: Path, *arguments: object) -> str:
    """Run Python with the copy in place of the package, and return its output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "200", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def deploy_snn(copy: Path, *arguments: object) -> str:
    return run(copy, "-c", "from deploy_snn.cli.main import main; main()", *arguments)


def test_examples_pass_lint_and_structure(copy: Path) -> None:
    files = [copy / step["file"] for step in STEP.finditer((ROOT / "CONTRIBUTING.md").read_text())]
    run(copy, "-m", "ruff", "check", "--no-cache", *files, copy / "deploy_snn" / "registry.py")
    run(copy, "-m", "ruff", "format", "--no-cache", "--check", *files)
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_structure.py", "-k", "one_way or one_file")


def test_examples_on_the_command_line(copy: Path) -> None:
    listed = deploy_snn(copy, "list")
    for name in ("quadratic-if", "QuadraticIFNodes", "onnx-json", "weight-table"):
        assert name in listed, name
    deploy_snn(copy, "export", "quadratic-if", "--n", 8, "-o", "quadratic")
    written = {path.name for path in (copy / "quadratic").iterdir()}
    assert {"step.onnx", "model.pt", "model.pt2", "step.onnx.json", "sequence.onnx.json"} < written
    compared = deploy_snn(copy, "parity", "quadratic", "--stimulus", "threshold", "--steps", 60)
    assert "onnx-json" in compared
    assert re.search(r"1 model, \d+ steps, [1-9]\d* spikes .*: all \d+ runs equal", compared), compared


def test_network_of_the_examples(copy: Path) -> None:
    runtimes, definition = run(copy, "-c", NETWORK).splitlines()
    assert runtimes == "['onnx-json', 'onnx-reference', 'onnxruntime-cpu'] True True"
    assert definition == '    network.add_connection(Saturating(saved["X_to_out.w"], limit=12.0), "X", "out")'


def test_example_importer(copy: Path) -> None:
    (copy / "table.txt").write_text("# weights, source by target\n1 2 3\n4 5 6\n")
    assert "The neurons are LIF" in deploy_snn(copy, "import", "table.txt", "-o", "imported")
    (copy / "build.py").write_text("from imported import build\nprint(build().connections[0].w.tolist())\n")
    assert run(copy, "build.py") == "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]\n"


@pytest.mark.parametrize(
    ("file", "name", "least"),
    [
        ("neurons/test_laws.py", "quadratic-if", 7),
        ("network/test_connections.py", "saturating", 3),
        ("learning/test_laws.py", "decorrelating", 2),
        ("test_description.py", "quadratic-if or decorrelating or saturating", 5),
    ],
)
def test_examples_are_included_in_the_laws(copy: Path, file: str, name: str, least: int) -> None:
    shown = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}", "-k", name)
    (passed,) = re.findall(r"^(\d+) passed", shown, re.MULTILINE)
    assert int(passed) >= least


def test_examples_are_included_in_format_and_runtime_tests(copy: Path) -> None:
    """The examples are collected by these tests. They are not run here: parity above compares the same, in less time."""
    files = ("tests/runtimes/test_runtimes.py", "tests/formats/test_onnx.py", "tests/formats/test_torch_files.py")
    found = run(copy, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *files)
    for test in (
        "test_runtimes.py::test_steps_and_runs[quadratic-if-onnx-json]",
        "test_onnx.py::test_graph_inputs_and_outputs_match_the_contract[quadratic-if-0]",
        "test_torch_files.py::test_state_is_an_argument_and_a_result[quadratic-if]",
    ):
        assert test in found, test
