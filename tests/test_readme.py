"""The README's commands and code run as they stand, in order, and print what it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_readme_runs(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert {language for language, _ in blocks} == {"console", "python"}
    for language, text in blocks:
        if language == "python":
            run([sys.executable, "-c", text], tmp_path)
        else:
            for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", text, re.MULTILINE):
                check(run(["bash", "-c", command], tmp_path), expected, command)


def run(command: list[str], folder: Path) -> str:
    # The commands of this very environment; no warnings filter, as a user has none.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check(output: str, expected: str, command: str) -> None:
    """Each line that the README shows stands in the output; ``...`` is where it left something out."""
    lines = output.splitlines()
    for line in expected.splitlines():
        wanted = line.removesuffix("...").rstrip()
        assert any(found.startswith(wanted) for found in lines), f"{command} does not print: {line}\n{output}"
