"""The notebook runs from top to bottom, and is stored without outputs."""

import json
from typing import Any

from .clone import ROOT, Clone

NOTEBOOK: dict[str, Any] = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs(clone: Clone) -> None:
    """All cells run in one Python process, in the notebook's folder, as in Jupyter."""
    (clone.folder / "scratch").mkdir()
    (clone.folder / "scratch" / "cells.py").write_text("\n".join(CODE))
    printed = clone.bash("source .venv/bin/activate && cd docs && python - < ../scratch/cells.py")
    assert "all equal: True" in printed
    raster = [line.split("  ")[1] for line in printed.splitlines() if line.startswith("neuron ")]
    assert len(raster) == 10
    assert all(len(row) == 60 for row in raster)
    assert any("|" in row for row in raster), "no output neuron fires"
    assert not clone.git("status", "--porcelain")


def test_no_output_is_stored() -> None:
    assert not any(cell["outputs"] or cell["execution_count"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")
