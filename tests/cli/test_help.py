"""The help of every command follows rules, errors suggest similar names, and the shell completes names."""

import os
import re
import subprocess
import sys
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
    assert "<bool>" not in out
    assert not re.search(r"\w \.(\s|$)|\[default: *\]", out), "a default is missing: rich has read it as markup"
    assert not name or f"Example: deploy-snn {name}" in out
    assert out == command(*filter(None, [name]), "--help")[1]


def test_defaults_in_words_are_shown(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = command("export", "--help")[1]
    for default in (
        "bundles/NAME",
        "all but wasm, aoti, executorch, onnx-custom and torchscript-custom",
        "1 for a neuron",
        "64",
    ):
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
def test_suggestions(arguments: list[str], words: str, command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, _, error = command(*arguments)
    assert status == 2
    assert words in error


def test_commands_are_grouped_by_topic(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = command("--help")[1]
    panels = re.split(r"╭─ ([\w ]+) ─+╮", out)[1:]
    found = {
        title: re.findall(r"^│ (\w+) ", text, re.MULTILINE) for title, text in zip(panels[::2], panels[1::2], strict=True)
    }
    assert found.pop("Options") == []
    assert len(found) > 1
    assert "Commands" not in found
    assert sorted(name for names in found.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("deploy-snn pari", "parity"),
        ("deploy-snn describe iz", "izhikevich"),
        ("deploy-snn bench x --runtime onnxruntime-cp", "onnxruntime-cpu"),
    ],
)
def test_shell_completion(words: str, found: str) -> None:
    """Completion for bash works. It needs its own process, since the program's name must be deploy-snn."""
    code = "import sys; sys.argv[0] = 'deploy-snn'; from deploy_snn.cli.main import main; main()"
    request = {"_DEPLOY_SNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | request, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [found], done.stderr
