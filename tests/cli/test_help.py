"""The help of every command is held against rules, and unknown names are answered with what was probably meant."""

import re
from collections.abc import Callable

import pytest

from deploy_snn.cli.main import app

Call = Callable[..., tuple[int, str, str]]

COMMANDS = [str(command.name) for command in app.registered_commands]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name: str, command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = command(*filter(None, [name]), "-h")
    assert status == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert not re.search(r"\w \.(\s|$)|\[default: *\]", out), "a default that was taken for markup"
    assert not name or f"Example: deploy-snn {name}" in out
    assert out == command(*filter(None, [name]), "--help")[1]


def test_defaults_in_words_are_shown(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = command("export", "--help")[1]
    for default in ("export/NAME", "all but wasm and aoti", "1 for a neuron", "64"):
        assert f"[default: ({default})]" in out, out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exprot", "lif"], "'export'"),
        (["export", "liff"], "did you mean 'lif'?"),
        (["export", "lif", "--oupset", "20"], "--opset"),
        (["export", "lif", "--thresh", "-50"], "--set thresh=-50"),
        (["parity", "lif", "--tc-decay=20"], "--set tc_decay=20"),
    ],
)
def test_what_was_meant(arguments: list[str], words: str, command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, _, error = command(*arguments)
    assert status == 2
    assert words in error
