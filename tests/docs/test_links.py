"""Links in the documents: relative links lead to existing files and headings, and others are valid URLs."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .clone import ROOT

LINK = re.compile(r"!?\[(?:[^\[\]]|!?\[[^\[\]]*\]\([^()]*\))*\]\((?P<target>[^()\s]+)\)")
CODE_BLOCK = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$", re.MULTILINE | re.DOTALL)
CODE = re.compile(rf"{CODE_BLOCK.pattern}|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, in the form of GitHub and MkDocs."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", CODE_BLOCK.sub("", text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        found.add(words.strip().replace(" ", "-"))
    return found


def link_error(document: Path, target: str) -> str:
    """Return the error of a link, or an empty string."""
    address = urlsplit(target)
    if address.scheme or address.netloc:
        valid = address.scheme == "mailto" or (address.scheme in ("http", "https") and "." in (address.hostname or ""))
        return "" if valid else "is no valid address"
    path = (document.parent / address.path).resolve() if address.path else document
    if not path.exists():
        return "leads to no file"
    if not path.is_relative_to(ROOT):
        return "leads out of the repository"
    if address.fragment and address.fragment not in anchors(path.read_text()):
        return "leads to no heading"
    return ""


@pytest.mark.parametrize("document", documents(), ids=lambda document: str(document.relative_to(ROOT)))
def test_links(document: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(CODE.sub("", document.read_text()))]
    wrong = [f"{target} {why}" for target in targets if (why := link_error(document, target))]
    assert not wrong


def test_wrong_links() -> None:
    """The check finds each kind of error."""
    readme = ROOT / "README.md"
    assert link_error(readme, "docs/nowhere.md") == "leads to no file"
    assert link_error(readme, "docs/server.md#nowhere") == "leads to no heading"
    assert link_error(readme, "../..") == "leads out of the repository"
    assert link_error(readme, "https:/onnx.ai") == "is no valid address"
    assert not link_error(readme, "docs/importing.md#writing-nir")
    text = "[a](b.md) ![c](d.svg) [![e](f.svg)](g.md) `[h](i.md)`\n```text\n[j](k.md)\n```\n"
    assert [match["target"] for match in LINK.finditer(CODE.sub("", text))] == ["b.md", "d.svg", "g.md"]
