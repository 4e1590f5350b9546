"""Measure the time from ``git clone`` to "all equal", with the environment that ``make parity`` installs.

It downloads torch, so it runs on request only:
``DEPLOY_SNN_FRESH=1 python -m pytest -s tests/docs/test_fresh_environment.py``.
"""

import os
import re
import time
from pathlib import Path

import pytest

from .clone import Clone, git
from .test_readme import START


@pytest.mark.skipif(not os.environ.get("DEPLOY_SNN_FRESH"), reason="DEPLOY_SNN_FRESH=1 lets it install a new environment")
def test_from_clone_to_all_equal(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deploy_snn"
    began = time.monotonic()
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    clone = Clone(folder)
    assert not clone.run_page(START, tmp_path / "scripts")
    print(f"\nclone to the last line of make parity: {time.monotonic() - began:.0f} s")  # noqa: T201
    assert re.search(r"all \d+ runs equal", clone.bash("source .venv/bin/activate && deploy-snn parity lif --steps 50"))
