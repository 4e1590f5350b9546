"""The README: its first command, and the ways of its three users, each from a fresh clone."""

from collections.abc import Callable

import pytest

from .clone import ROOT, blocks

README = (ROOT / "README.md").read_text()
_, START, *SECTIONS = README.split("\n## ")
USERS = [section for section in SECTIONS if section.startswith("I ")]


def test_the_first_command(run_page: Callable[[str], None]) -> None:
    """``make parity`` in a fresh clone: all neurons equal on all runtimes, and nothing that git tracks is changed."""
    run_page(START)


@pytest.mark.parametrize("section", USERS, ids=[section.splitlines()[0].replace(" ", "-") for section in USERS])
def test_the_way_of_a_user(section: str, run_page: Callable[[str], None]) -> None:
    run_page(section)


def test_all_of_the_readme_is_run() -> None:
    """Every block is in a section that one of the tests above runs. Each section activates the environment itself."""
    assert len(USERS) == 3
    assert all("source .venv/bin/activate" in blocks(section)[0].text for section in (START, *USERS))
    assert sum(len(blocks(text)) for text in (START, *USERS)) == len(blocks(README))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
