"""Each page of docs/ runs in a fresh clone: its commands and its Python code, in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .clone import ROOT, blocks

PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if blocks(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page(page: Path, run_page: Callable[[str], None]) -> None:
    run_page(page.read_text())
