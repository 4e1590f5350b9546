"""Rules of the package structure: the direction of imports, and which code must not import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "deploy_snn"
FLOORS = [
    {"errors"},
    {"contract_v1", "tensors", "registry", "model_name", "wasm_module", "ort_headers"},
    {"contract", "cpus"},
    {"structure", "c_compiler", "description", "noise"},
    {"bundle", "torch_internals"},
    {"program", "plot"},
    {"eager", "neurons", "learning"},
    {"network"},
    {"lowering", "definition"},
    {"compiled"},
    {"formats", "importers"},
    {"reference"},
    {"learnt"},
    {"runtimes"},
    {"parity", "server", "triton", "web"},
    {"api"},
    {"cli"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
UPWARDS = {("bundle", "runtimes")}
"""``bundle.session()`` imports the runtimes when it is called: a convenience for people, and the only exception."""

READING = ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn")


def rooms_read_by(path: Path) -> set[str]:
    """The parts of deploy_snn that a file imports from, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deploy_snn."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_run_one_way() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        wrong += [
            f"{path.relative_to(PACKAGE)} imports {other}"
            for other in rooms_read_by(path) - {room}
            if (room, other) not in UPWARDS and FLOOR[other] >= FLOOR[room]
        ]
    assert not wrong


def test_the_server_needs_bundles_and_runtimes_only() -> None:
    below = {"bundle", "runtimes", "contract", "tensors", "errors", "server"}
    for path in (PACKAGE / "server").rglob("*.py"):
        assert rooms_read_by(path) <= below, path


def test_only_one_file_uses_private_torch_api() -> None:
    private = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if _is_private(node)
    }
    assert private == {"torch_internals.py"}


def _is_private(node: ast.AST) -> bool:
    """Whether code imports or names a private module of torch's, or ``torch.jit``."""
    if isinstance(node, ast.ImportFrom):
        parts = (node.module or "").split(".") + [alias.name for alias in node.names]
        return parts[0] == "torch" and any(
            part == "jit" or (part.startswith("_") and part != "__version__") for part in parts
        )
    if isinstance(node, ast.Import):
        return any(alias.name.startswith(("torch._", "torch.jit")) for alias in node.names)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        return node.attr == "jit" or node.attr.startswith("_")
    return False


def imported_by(code: str, *arguments: object) -> set[str]:
    """The modules that are imported once some code has run, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    assert not {*READING, "onnxruntime", "numpy"} & imported_by("import deploy_snn.cli.main")


@pytest.mark.parametrize(
    "code",
    [
        "from deploy_snn.bundle import Bundle; Bundle.open(sys.argv[1]).golden()",
        "import deploy_snn; deploy_snn.open_bundle(sys.argv[1]).session('onnxruntime-cpu').step(numpy.ones((1, 8), 'f4'))",
        "import deploy_snn.server.app, deploy_snn.server.rpc",
        "from deploy_snn.cli.list import list_all; list_all()",
        (
            "from contextlib import ExitStack; from deploy_snn.cli.model import opening; "
            "opening(sys.argv[1], ExitStack(), runtime='onnxruntime-cpu')()"
        ),
    ],
    ids=["read", "run", "serve", "list", "open"],
)
def test_reading_needs_neither_torch_nor_onnx(code: str) -> None:
    found = imported_by(f"import sys, numpy\n{code}", PACKAGE.parent / "export" / "lif")
    assert "deploy_snn.bundle" in found
    assert not set(READING) & found
