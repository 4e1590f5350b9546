"""The house rules that a reader relies on: imports run one way, files stay small, the command line starts without torch."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "deploy_snn"
FLOORS = [
    {"errors"},
    {"contract", "tensors"},
    {"program", "readout"},
    {"trace", "neurons"},
    {"network"},
    {"importers"},
    {"source"},
    {"formats"},
    {"runtimes"},
    {"parity", "server", "triton"},
    {"cli"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def rooms_read_by(path: Path) -> set[str]:
    """The parts of deploy_snn that a file imports from, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deploy_snn."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_run_one_way() -> None:
    upwards = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            assert not rooms_read_by(path)
            continue
        upwards += [f"{path.name} in {room} imports {other}" for other in rooms_read_by(path) if FLOOR[other] > FLOOR[room]]
        neighbours = FLOORS[FLOOR[room]] - {room}
        upwards += [f"{path.name} in {room} imports its neighbour {other}" for other in rooms_read_by(path) & neighbours]
    assert not upwards


def test_files_stay_small() -> None:
    long = {path.name: lines for path in PACKAGE.rglob("*.py") if (lines := len(path.read_text().splitlines())) > 300}
    assert not long


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'sklearn'}"
    code = f"import sys, deploy_snn.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
