"""``deploy-snn triton``: the files it writes, the files it must not change, and its errors."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.contract import BATCH, Axis, Contract, Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.triton import repository, write_repository
from deploy_snn.triton.config import onnxruntime_config, python_config

from ..docs.clone import check_output  # noqa: TID252
from ..serving_driver import EXPORT  # noqa: TID252

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path) -> str:
    """Run a command with this environment on PATH, and return what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_both_backends(command: Callable, tmp_path: Path) -> None:
    place = tmp_path / "new" / "repository"
    status, out, _ = command("triton", EXPORT / "lif", EXPORT / "srm0", "-o", place)
    assert status == 0
    assert out.splitlines() == [f"{place / name}: onnxruntime backend, checked" for name in ("lif", "srm0")]
    step = (EXPORT / "lif/step.onnx").read_bytes()
    first = Bundle.open(EXPORT / "lif").initial_rows
    assert {name: data for name, data in files(place / "lif").items() if name != "config.pbtxt"} == {
        "1/model.onnx": step,
        "initial_state/refrac_count.raw": first["refrac_count"].tobytes(),
        "initial_state/v.raw": first["v"].tobytes(),
    }
    before = files(place / "srm0")
    status, out, _ = command("triton", EXPORT / "lif", "-o", place, "--backend", "python")
    assert (status, out) == (0, f"{place / 'lif'}: python backend, checked\n")
    assert files(place / "lif").keys() == {"config.pbtxt", "1/model.onnx", "1/model.py", "1/initial_state.safetensors"}
    assert files(place / "srm0") == before
    assert sorted(path.name for path in place.parent.iterdir()) == ["repository"]  # no partial folder is left


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="/dev/shm is not a mount point")
def test_a_mount_point(command: Callable, tmp_path: Path) -> None:
    """A repository that is a mount point can be written, though it is on another file system than its parent folder."""
    place, name = Path("/dev/shm"), f"deploy-snn-{os.getpid()}"
    shutil.copytree(EXPORT / "lif", tmp_path / name)
    try:
        for _ in range(2):  # the second run replaces the first
            status, _, err = command("triton", tmp_path / name, "-o", place)
            assert (status, err) == (0, "")
        assert files(place / name).keys() >= {"config.pbtxt", "1/model.onnx"}
        assert not list(place.glob(".deploy-snn-partial-*"))
    finally:
        shutil.rmtree(place / name, ignore_errors=True)


def test_foreign_model_folders_are_not_changed(command: Callable, tmp_path: Path) -> None:
    """A model folder that deploy_snn has not written is an error, and no file changes."""
    (tmp_path / "srm0").mkdir()
    (tmp_path / "srm0/config.pbtxt").write_text("name: 'srm0' # of somebody else")
    before = files(tmp_path)
    status, _, err = command("triton", EXPORT / "lif", EXPORT / "srm0", "-o", tmp_path)
    assert status == 2
    assert err == f"deploy-snn: {tmp_path / 'srm0'} exists and was not written by deploy_snn: choose another repository\n"
    assert files(tmp_path) == before


def test_lint_error_keeps_the_old_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the lint finds an error in the new files, the old ones are kept."""
    bundle = Bundle.open(EXPORT / "lif")
    write_repository(tmp_path / "repository", [bundle], "onnxruntime")
    before = files(tmp_path)

    def write_without_a_file(bundle: Bundle, folder: Path) -> Any:
        config = repository._write_onnxruntime(bundle, folder)
        (folder / "initial_state/v.raw").unlink()
        return config

    monkeypatch.setitem(repository.BACKENDS, "onnxruntime", write_without_a_file)
    with pytest.raises(InvalidInput, match="lif cannot be served by Triton: the initial value of state 'v' is not a file"):
        write_repository(tmp_path / "repository", [bundle], "onnxruntime")
    assert files(tmp_path) == before


def test_invalid_arguments(command: Callable, exported: Callable, tmp_path: Path) -> None:
    status, _, err = command("triton", EXPORT / "lif", exported("lif").path, "-o", tmp_path / "repository")
    assert (status, err) == (
        2,
        "deploy-snn: 2 bundles are named lif: the name of a model is the name of its folder, so rename one\n",
    )
    (tmp_path / "file").write_text("")
    status, _, err = command("triton", EXPORT / "lif", "-o", tmp_path / "file")
    assert (status, err) == (2, f"deploy-snn: {tmp_path / 'file'} cannot be written: File exists\n")
    command("export", "lif", "--n", 3, "--format", "torchscript", "-o", tmp_path / "scripted")
    status, _, err = command("triton", tmp_path / "scripted", "-o", tmp_path / "repository")
    assert status == 2
    assert "scripted has no step.onnx" in err
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("package", ["tritonclient", "grpc"])
def test_without_tritonclient(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from deploy_snn.cli.main import main; main()"
    command = [sys.executable, "-c", code, "triton", EXPORT / "lif", "-o", tmp_path / "repository"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    hint = "install the extra 'triton' of deploy-snn (in its folder: pip install '.[triton]')"
    assert (done.returncode, done.stderr) == (3, f"deploy-snn: triton needs tritonclient[grpc]: {hint}\n")


def test_which_contracts_are_batched() -> None:
    """Requests are batched only if every tensor has the batch axis first. A tensor without axes is an error."""

    def contract(*axes: Axis) -> Contract:
        x = TensorSpec(name="x", role=Role.DRIVE, axes=(BATCH, Axis(name="n", size=4)))
        spikes = TensorSpec(name="s", role=Role.SPIKES, dtype="bool", axes=x.axes)
        return Contract(dt=1, tensors=(x, spikes, TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL, axes=axes)))

    n = Axis(name="n", size=4)
    for axes, joined, dims in (
        ((BATCH, n), True, [4]),
        ((n, BATCH), False, [4, 1]),
        ((n,), False, [4]),
        ((BATCH,), False, [1]),
    ):
        config = onnxruntime_config("model", contract(*axes))
        assert (config.max_batch_size > 0) == joined
        assert list(config.sequence_batching.state[0].dims) == dims
        assert list(config.input[0].dims) == ([4] if joined else [1, 4])
    with pytest.raises(InvalidInput, match="onnxruntime backend does not support v: a tensor needs at least one axis"):
        onnxruntime_config("model", contract())
    assert python_config("model", contract()).max_batch_size == 0  # the python backend keeps the states itself


def test_commands_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "export").symlink_to(EXPORT)
    (block,) = [
        text
        for language, text in BLOCK.findall((EXPORT.parent / "serve/triton/README.md").read_text())
        if language == "console"
    ]
    for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", block, re.MULTILINE):
        check_output(run(["bash", "-c", command], tmp_path), printed, command)
