"""Fixtures that give each test of the documents a fresh clone."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .clone import ROOT, Clone, add_environment, clone_working_tree, git

if TYPE_CHECKING:
    from ..conftest import SharedFolder  # noqa: TID252


@pytest.fixture(scope="session")
def repository(shared: "SharedFolder") -> Path:
    """A repository with the working tree as its last commit."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("the documents are tested in a clone, and this is no git repository")
    return shared.once("repository", clone_working_tree)


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Clone:
    """A fresh clone with an environment."""
    folder = tmp_path / "deploy_snn"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    add_environment(folder)
    return Clone(folder)


@pytest.fixture
def run_page(clone: Clone, tmp_path: Path) -> Callable[[str], None]:
    """``run_page(text)``: run the blocks of a Markdown text in a fresh clone; skip the test if a block was skipped."""

    def run(text: str) -> None:
        skipped = clone.run_page(text, tmp_path / "scripts")
        if skipped:
            reasons = (f"the block at line {block.line} needs {', '.join(block.missing)}" for block in skipped)
            pytest.skip(f"all other blocks pass, but {'; '.join(reasons)}")

    return run
