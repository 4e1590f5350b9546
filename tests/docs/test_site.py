"""The site that ``make docs`` builds is complete and has no broken links."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .clone import ROOT, Clone, environment

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytest.importorskip("material", reason="the extra docs is not installed")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the pages and the configuration, which a test may change."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_make_docs(clone: Clone) -> None:
    """``make docs`` works in a fresh clone, and every link and picture of every page exists in the site."""
    clone.bash("make docs")
    assert not clone.git("status", "--porcelain")
    site = clone.folder / "site"
    pages = sorted(site.rglob("*.html"))
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= {page.stem for page in pages}
    broken = []
    for page in pages:
        if page.name == "404.html":  # its links are relative to the root of the site
            continue
        for target in re.findall(r'(?:href|src)="([^"]*)"', page.read_text()):
            address = urlsplit(target)
            path = (page.parent / unquote(address.path)).resolve() if address.path else page
            if not address.scheme and not (path.exists() and path.is_relative_to(site)):
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_added_and_removed_pages(copy: Path) -> None:
    """A page may be missing from docs/, and a page that is not in the navigation is added at its end."""
    (copy / "docs" / "capacity.md").unlink(missing_ok=True)
    (copy / "docs" / "runtimes.md").write_text("# Runtimes of a test\n")
    (copy / "docs" / "unlisted.md").write_text("# An unlisted page\n\n[out](../README.md) and [in](runtimes.md)\n")
    done = build(copy)
    assert done.returncode == 0, done.stderr
    index = (copy / "site" / "index.html").read_text()
    assert 'href="runtimes.html"' in index
    assert 'href="unlisted.html"' in index
    assert "capacity.html" not in index
    page = (copy / "site" / "unlisted.html").read_text()
    assert "out (<code>README.md</code>) and" in page
    assert '<a href="runtimes.html">in</a>' in page


@pytest.mark.parametrize("link", ["nowhere.md", "server.md#nowhere"])
def test_wrong_link_stops_the_build(link: str, copy: Path) -> None:
    (copy / "docs" / "unlisted.md").write_text(f"# An unlisted page\n\n[wrong]({link})\n")
    done = build(copy)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
