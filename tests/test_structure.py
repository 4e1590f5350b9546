"""Rules of the package structure: the direction of imports, and which code must not import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "deploy_snn"
LAYERS = [
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
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
EXCEPTIONS = {("bundle", "runtimes")}
"""The only exception: ``bundle.session()`` imports the runtimes when it is called."""

READING = ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn")


def imported_packages(path: Path) -> set[str]:
    """Return the packages of deploy_snn that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deploy_snn."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_run_one_way() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        wrong += [
            f"{path.relative_to(PACKAGE)} imports {other}"
            for other in imported_packages(path) - {package}
            if (package, other) not in EXCEPTIONS and LAYER_OF[other] >= LAYER_OF[package]
        ]
    assert not wrong


def test_the_server_needs_bundles_and_runtimes_only() -> None:
    below = {"bundle", "runtimes", "contract", "tensors", "errors", "server"}
    for path in (PACKAGE / "server").rglob("*.py"):
        assert imported_packages(path) <= below, path


def test_only_one_file_uses_private_torch_api() -> None:
    private = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if _is_private(node)
    }
    assert private == {"torch_internals.py"}


def _is_private(node: ast.AST) -> bool:
    """Return whether code imports or names ``torch.jit`` or a private module of torch."""
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


def imported_modules(code: str, *arguments: object) -> set[str]:
    """Run code in its own process, and return the modules that are imported after it."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_command_line_imports_no_large_library() -> None:
    assert not {*READING, "onnxruntime", "numpy"} & imported_modules("import deploy_snn.cli.main")


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
    found = imported_modules(f"import sys, numpy\n{code}", PACKAGE.parent / "export" / "lif")
    assert "deploy_snn.bundle" in found
    assert not set(READING) & found
