"""The README's commands and code run as they stand, in order, and print what it says they print."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


TRAINED = ROOT / "tests" / "importers" / "trained" / "diehl_and_cook"


def test_readme_runs(tmp_path: Path) -> None:
    # What the lines for a user of BindsNET would save.
    shutil.copy(f"{TRAINED}.pt", tmp_path / "net.pt")
    shutil.copy(f"{TRAINED}-labels.safetensors", tmp_path / "labels.safetensors")
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert {language for language, _ in blocks} == {"console", "python"}
    for language, text in blocks:
        if language == "python":
            run([sys.executable, "-c", text], tmp_path)
        else:
            for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", text, re.MULTILINE):
                check(run(["bash", "-c", command], tmp_path), expected, command)


def test_readme_serves(tmp_path: Path) -> None:
    """The section on serving: its server, its request and its WebSocket, from the commands' folder."""
    section = (ROOT / "README.md").read_text().split("## Serve\n")[1].split("\n## ")[0]
    starting, request = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (stepping,) = re.findall(r"^```py\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    install, export, serve = starting.splitlines()
    assert install == "pip install '.[cpu,serve]'"
    run(["bash", "-c", export], tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(["bash", "-c", f"exec {serve.replace('8000', port)}"], cwd=tmp_path, env=environment())
    try:
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/health/ready")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        answer = json.loads(run(["bash", "-c", request.replace("8000", port)], tmp_path))
        assert answer["parameters"] == {"sequence_id": "robot 7", "sequence_step": 1}
        assert "'shape': [1, 8]" in run([sys.executable, "-c", stepping.replace("8000", port)], tmp_path)
    finally:
        process.terminate()
        assert process.wait(30) in (0, -15)


def environment() -> dict[str, str]:
    """The commands of this very environment; no warnings filter, as a user has none."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check(output: str, expected: str, command: str) -> None:
    """Each line that the README shows stands in the output; ``...`` is where it left something out."""
    lines = output.splitlines()
    for line in expected.splitlines():
        wanted = line.removesuffix("...").rstrip()
        assert any(found.startswith(wanted) for found in lines), f"{command} does not print: {line}\n{output}"
