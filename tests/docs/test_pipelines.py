"""Files for deployment and CI: the Docker image, the systemd unit, the CI workflow and the pre-commit hook."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from .clone import ROOT, Clone

DOCKERFILE = ROOT / "Dockerfile"
UNIT = ROOT / "serve" / "deploy-snn.service"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WRITING = {"torch", "onnx", "onnxscript", "networkx"}
"""Packages that only an export needs. tests/test_structure.py checks that the server imports none of them."""


def load_yaml(path: Path) -> Any:
    return pytest.importorskip("yaml", reason="PyYAML, which the extra docs installs, is missing").safe_load(
        path.read_text()
    )


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


def test_lint_of_the_dockerfile() -> None:
    done = subprocess.run([tool("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_packages_of_the_image() -> None:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install ((?:[^&\n]|&(?!&))*)", text)
    words = {word for install in installs for word in install.split() if not word.startswith("-")}
    extras = PROJECT["optional-dependencies"]
    needed = {
        Requirement(line).name for line in [*PROJECT["dependencies"], *(extras["cpu"] + extras["serve"] + extras["redis"])]
    }
    assert words - {"constraints.txt", "."} == needed - WRITING
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


def test_the_image_starts_a_server_without_torch(clone: Clone) -> None:
    """The entry point and the health check of the image work without torch and ONNX."""
    entry = shlex.split(re.search(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE.read_text(), re.MULTILINE)[1].replace(",", " "))
    assert entry[1:] == ["serve", "--host", "0.0.0.0", "--port", "8000"]
    check = re.search(r'"(import urllib.*?)"\]$', DOCKERFILE.read_text(), re.MULTILINE)[1]
    start = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(WRITING)})); from deploy_snn.cli.main import main; main()"
    )
    skipped = clone.run_page(
        "```sh\n"
        "source .venv/bin/activate\n"
        f"python -c {shlex.quote(start)} serve --host 127.0.0.1 --port 8000 export/lif &\n"
        f"for trial in $(seq 100); do python -c {shlex.quote(check)} && break || sleep 0.2; done\n"
        f"python -c {shlex.quote(check)}\n"
        "```\n",
        clone.folder.parent / "scripts",
    )
    assert not skipped


def test_systemd_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    program, *arguments = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
    assert program == "/opt/deploy-snn/bin/deploy-snn"
    assert arguments[0] == "serve"
    assert_options("serve", arguments[1:])
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program, sys.executable))
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_workflow(clone: Clone) -> None:
    """The commands of the workflow pass in a repository of bundles, and fail after a bundle has changed."""
    workflow = load_yaml(ROOT / "docs" / "examples" / "parity.yml")
    steps = workflow["jobs"]["parity"]["steps"]
    install, parity = (step["run"] for step in steps if "run" in step)
    shutil.copytree(ROOT / "export" / "lif", clone.folder / "bundles" / "lif")
    activate = f"set -e; export DEPLOY_SNN={shlex.quote(str(clone.folder))}; source .venv/bin/activate\n"
    clone.bash(f"{activate}{install}\n{parity} --steps 20 --runtime onnxruntime-cpu")
    assert set(steps[-1]["with"]["path"].split()) == {"parity.xml", "parity.html"}
    assert ET.parse(clone.folder / "parity.xml").getroot().find(".//testcase") is not None
    shutil.copy(ROOT / "export" / "boosted-lif" / "step.onnx", clone.folder / "bundles" / "lif" / "step.onnx")
    with pytest.raises(AssertionError, match=r"exit status [12]\b"):
        clone.bash(f"{activate}{parity} --steps 20 --runtime onnxruntime-cpu")


def test_pre_commit_hook() -> None:
    (hook,) = load_yaml(ROOT / ".pre-commit-hooks.yaml")
    assert hook["entry"].split()[0] in PROJECT["scripts"]
    command = hook["entry"].split()[1]
    page = (ROOT / "docs" / "pipelines.md").read_text()
    arguments = re.search(r"- id: (\w+)\n +args: \[(.*)\]", page)
    assert arguments[1] == hook["id"]
    assert_options(command, shlex.split(arguments[2].replace(",", " ")))
    assert hook["additional_dependencies"] == PROJECT["optional-dependencies"]["cpu"]
    pattern = re.compile(hook["files"])
    in_git = [path for path in (ROOT / "export").rglob("*") if path.is_file() and path.name != "README.md"]
    assert in_git
    assert all(pattern.search(str(path)) for path in in_git)
    assert not pattern.search("export/README.md")


def assert_options(command: str, arguments: list[str]) -> None:
    """Assert that the command has each of these options."""
    done = subprocess.run(
        [sys.executable, "-c", "from deploy_snn.cli.main import main; main()", command, "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    used = [word for word in arguments if word.startswith("--")]
    assert used
    assert all(re.search(rf"{word}\b", done.stdout) for word in used), used
