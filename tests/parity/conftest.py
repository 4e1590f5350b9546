"""A fixture of a bundle with a fault."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import onnx
import pytest

from deploy_snn.bundle import Bundle


@pytest.fixture
def strict_comparison(exported: Callable[..., Bundle], tmp_path: Path) -> Path:
    """A copy of an LIF bundle whose step.onnx compares with ``>`` instead of ``>=``. Its checksums are valid."""
    copy = Path(shutil.copytree(exported("lif", n=16).path, tmp_path / "wrong"))
    model = onnx.load(copy / "step.onnx")
    next(node for node in model.graph.node if node.op_type == "GreaterOrEqual").op_type = "Greater"
    onnx.save(model, copy / "step.onnx")
    data = (copy / "step.onnx").read_bytes()
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["step.onnx"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy
