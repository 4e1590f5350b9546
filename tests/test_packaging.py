"""Packaging: the files of the wheel, the dependencies, and the version in all places."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy_snn import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ORT = {"onnxruntime", "onnxruntime-gpu"}


def package_names(requirements: list[str]) -> set[str]:
    return {Requirement(requirement).name for requirement in requirements}


def test_extras_have_one_onnx_runtime() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert {name: package_names(needs) & ORT for name, needs in extras.items() if package_names(needs) & ORT} == {
        "cpu": {"onnxruntime"},
        "gpu": {"onnxruntime-gpu"},
    }
    assert not package_names(PROJECT["project"]["dependencies"]) & ORT
    groups = PROJECT["dependency-groups"].values()
    assert not any(package_names(group) & ORT for group in groups)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("ort", "package", "other"), [("cpu", "onnxruntime", "onnxruntime-gpu"), ("gpu", "onnxruntime-gpu", "onnxruntime")]
)
def test_make_replaces_the_onnx_runtime(ort: str, package: str, other: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    planned = subprocess.run(
        ["make", "-n", f"ORT={ort}", ".venv/dev"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.findall(r"pip uninstall .* (\S+)\n", planned.stdout) == [other]
    installs = re.findall(r"--editable '\.\[(.*?)\]'", planned.stdout)
    assert len(installs) == 2
    assert all(set(extras.split(",")) & {"cpu", "gpu"} == {ort} for extras in installs)
    assert package_names(PROJECT["project"]["optional-dependencies"][ort]) == {package}
    refused = subprocess.run(["make", "-n", "ORT=both", "test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "unknown ORT 'both'; choose from cpu, gpu" in refused.stderr


def test_files_of_the_wheel(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "deploy_snn", tmp_path / "deploy_snn", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
    built = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1]) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("deploy_snn/")}
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    source = (path for path in (ROOT / "deploy_snn").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert inside == {str(path.relative_to(ROOT)) for path in source}
    assert "deploy_snn/py.typed" in inside
    described = message_from_string(metadata)
    assert described["Version"] == __version__
    supported = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert supported <= set(described.get_all("Classifier", []))


def test_version_is_the_same_everywhere() -> None:
    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == __version__
    assert re.findall(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == __version__


def test_constraints_fit_the_ranges() -> None:
    """The pinned versions of constraints.txt are within the ranges of pyproject.toml."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    wanted = [Requirement(text) for group in [*groups, *PROJECT["dependency-groups"].values()] for text in group]
    fits = {need.name: need.specifier.contains(pinned[need.name]) for need in wanted if need.name in pinned}
    assert all(fits.values()), fits
    assert {"torch", "onnx", "onnxruntime", "onnxruntime-gpu"} <= fits.keys()
