"""The README: the first command and the sections for the three kinds of users run, each in a fresh clone."""

from collections.abc import Callable

import pytest

from .clone import ROOT, blocks

README = (ROOT / "README.md").read_text()
_, START, *SECTIONS = README.split("\n## ")
USERS = [section for section in SECTIONS if section.startswith("I ")]


def test_the_first_command(run_page: Callable[[str], None]) -> None:
    """``make parity`` runs in a fresh clone, and changes no file that git tracks."""
    run_page(START)


@pytest.mark.parametrize("section", USERS, ids=[section.splitlines()[0].replace(" ", "-") for section in USERS])
def test_section_of_a_user(section: str, run_page: Callable[[str], None]) -> None:
    run_page(section)


def test_no_block_is_missed() -> None:
    """The tests above run every block of the README, and each section activates the environment."""
    assert len(USERS) == 3
    assert all("source .venv/bin/activate" in blocks(section)[0].text for section in (START, *USERS))
    assert sum(len(blocks(text)) for text in (START, *USERS)) == len(blocks(README))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
