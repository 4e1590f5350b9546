"""The commands with real files, across processes, and with invalid inputs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_in_torch

from deploy_snn.bundle import Bundle

Command = Callable[..., tuple[int, str, str]]
Exported = Callable[..., Bundle]


def save(path: Path, **arrays: np.ndarray) -> Path:
    save_file(arrays, path)
    return path


def load(path: Path) -> dict[str, np.ndarray]:
    return load_file(path)


@pytest.mark.parametrize("name", ["current-lif", "diehl-and-cook"])
def test_run_continues_in_another_process_and_runtime(name: str, exported: Exported, tmp_path: Path) -> None:
    """A run of 40 steps gives the same bits as 15 steps and a run that continues from the state file."""
    rng = np.random.default_rng(0)
    bundle = exported(name, n=6)
    inputs = {
        spec.name: (rng.random((40, *spec.shape(batch=2))) * (1 if spec.role == "noise" else 25)).astype(np.float32)
        for spec in bundle.contract.inputs
    }
    save(tmp_path / "all.safetensors", **inputs)
    save(tmp_path / "a.safetensors", **{key: value[:15] for key, value in inputs.items()})
    save(tmp_path / "b.safetensors", **{key: value[15:] for key, value in inputs.items()})

    def run(*arguments: str) -> None:
        command = [
            sys.executable,
            "-c",
            "from deploy_snn.cli.main import main; main()",
            "run",
            str(bundle.path),
            *arguments,
        ]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    run("--input", "all.safetensors", "--output", "whole.safetensors", "--state-out", "end.safetensors")
    run(
        "--input",
        "a.safetensors",
        "--output",
        "first.safetensors",
        "--state-out",
        "state.safetensors",
        "--runtime",
        "torchscript",
    )
    run(
        "--input",
        "b.safetensors",
        "--output",
        "second.safetensors",
        "--state-in",
        "state.safetensors",
        "--state-out",
        "end2.safetensors",
        "--runtime",
        "pt2",
    )
    whole, first, second = (load(tmp_path / f"{part}.safetensors")["s"] for part in ("whole", "first", "second"))
    assert_array_equal(whole, np.concatenate([first, second]))
    assert whole.any()
    end, end2 = load(tmp_path / "end.safetensors"), load(tmp_path / "end2.safetensors")
    for key in end:
        assert_array_equal(end[key], end2[key])


GOOD = {"x": np.zeros((5, 1, 6), np.float32)}
INVALID_INPUTS = [
    ({"x": np.full((5, 1, 6), np.nan, np.float32)}, "input 'x' must be finite, but is nan at index [0, 0, 0]"),
    ({"x": np.full((5, 1, 6), -np.inf, np.float32)}, "input 'x' must be finite, but is -inf at"),
    ({"x": np.zeros((5, 1, 6))}, "convert it to float32"),
    ({"x": np.zeros((5, 1, 7), np.float32)}, "is 7, not 6"),
    ({"x": np.zeros((5, 6), np.float32)}, "2 axes, not 3"),
    ({"x": np.zeros((5, 0, 6), np.float32)}, "'batch' is empty"),
    ({"x": np.zeros((0, 1, 6), np.float32)}, "'time' is empty"),
    ({**GOOD, "y": np.zeros(3, np.float32)}, "unknown input 'y'"),
    ({}, "'x' is missing"),
]


@pytest.mark.parametrize(("arrays", "message"), INVALID_INPUTS)
def test_invalid_inputs_to_run(arrays: dict, message: str, exported: Exported, command: Command, tmp_path: Path) -> None:
    save(tmp_path / "in.safetensors", **arrays)
    assert_rejected(
        command,
        message,
        "run",
        exported("lif", n=6).path,
        "--input",
        tmp_path / "in.safetensors",
        "--output",
        tmp_path / "out.safetensors",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def assert_rejected(command: Command, message: str, *arguments: object) -> None:
    status, _, error = command(*arguments)
    assert status == 2
    assert error.startswith("deploy-snn: ")
    assert error.count("\n") == 1
    assert message in error


def test_invalid_files_to_run(exported: Exported, command: Command, tmp_path: Path) -> None:
    bundle, good = exported("lif", n=6).path, save(tmp_path / "good.safetensors", **GOOD)
    out = ("--output", tmp_path / "out.safetensors")
    assert_rejected(command, "does not exist", "run", bundle, "--input", tmp_path / "none.safetensors", *out)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:100])
    assert_rejected(command, "cannot be read as .safetensors", "run", bundle, "--input", tmp_path / "cut.safetensors", *out)
    np.savez(tmp_path / "numpy.npz", **GOOD)
    assert_rejected(command, "cannot be read as .safetensors", "run", bundle, "--input", tmp_path / "numpy.npz", *out)
    save_in_torch({"x": torch.zeros(5, 1, 6, dtype=torch.bfloat16)}, tmp_path / "short.safetensors")
    assert_rejected(
        command, "of a type that numpy does not have: BF16", "run", bundle, "--input", tmp_path / "short.safetensors", *out
    )
    assert_rejected(command, "is not a file", "run", bundle, "--input", tmp_path, *out)
    assert_rejected(
        command, "does not exist", "run", bundle, "--input", good, "--output", tmp_path / "no" / "out.safetensors"
    )
    assert_rejected(command, "is a folder", "run", bundle, "--input", good, "--output", tmp_path)
    state = save(tmp_path / "state.safetensors", v=np.zeros((2, 6), np.float32), refrac_count=np.zeros((2, 6), np.float32))
    assert_rejected(command, "state 'v'", "run", bundle, "--input", good, *out, "--state-in", state)
    nan_state = save(
        tmp_path / "sick.safetensors", v=np.full((1, 6), np.nan, np.float32), refrac_count=np.zeros((1, 6), np.float32)
    )
    assert_rejected(
        command, "state 'v' must be finite, but is nan", "run", bundle, "--input", good, *out, "--state-in", nan_state
    )
    assert_rejected(command, "unknown runtime 'x'", "run", bundle, "--input", good, *out, "--runtime", "x")
    assert_rejected(command, "is not a bundle", "run", tmp_path, "--input", good, *out)
    with_noise = exported("diehl-and-cook", n=6).path
    assert_rejected(command, "'noise' is missing", "run", with_noise, "--input", good, *out)
    assert not (tmp_path / "out.safetensors").exists()


def test_invalid_arguments_to_parity(exported: Exported, command: Command, tmp_path: Path) -> None:
    bundle = exported("lif", n=6).path
    assert_rejected(command, "--n can only be used with a MODEL", "parity", bundle, "--n", 5)
    assert_rejected(command, "unknown stimulus 'noise'", "parity", bundle, "--stimulus", "noise")
    assert_rejected(command, "steps=0", "parity", bundle, "--steps", 0)
    assert_rejected(command, "batch=0", "parity", bundle, "--batch", 0)
    assert_rejected(command, "does not exist", "parity", bundle, "--json", tmp_path / "no" / "report.json")
    assert_rejected(command, "is not a bundle", "parity", tmp_path / "nothing")
    assert command("parity")[0] == 2
    assert command("parity", bundle, "--mode", "loose")[0] == 2


def test_list(command: Command) -> None:
    status, shown, _ = command("list")
    assert status == 0
    for word in ("diehl-and-cook", "DiehlAndCookNodes", "sequence.onnx", "onnx-reference", "threshold", "usable here"):
        assert word in shown


def test_inspect(exported: Exported, command: Command, tmp_path: Path) -> None:
    bundle = exported("lif", n=6)
    status, shown, _ = command("inspect", bundle.path)
    assert status == 0
    assert "10 nodes: 3 Where, 2 Sub, 2 Add, 1 Greater, 1 Mul, 1 GreaterOrEqual" in shown
    assert "in a Scan 10:" in shown
    for name in ("step.onnx", "sequence.onnx", "model.pt", "model.pt2"):
        status, shown, _ = command("inspect", bundle.path / name)
        assert status == 0
        assert "refrac_count   counter     float32   batch, 6   0         ms" in shown
    (tmp_path / "bad.onnx").write_bytes((bundle.path / "step.onnx").read_bytes()[:200])
    (tmp_path / "bad.pt").write_bytes(b"not a zip")
    (tmp_path / "notes.txt").write_text("hello")
    assert_rejected(command, "not a valid ONNX file", "inspect", tmp_path / "bad.onnx")
    assert_rejected(command, "not a zip archive", "inspect", tmp_path / "bad.pt")
    assert_rejected(command, "cannot be inspected; expected a bundle, or an .onnx", "inspect", tmp_path / "notes.txt")
    assert_rejected(command, "does not exist", "inspect", tmp_path / "nothing")


def test_bench(exported: Exported, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy_snn.cli.bench.SECONDS", 0.01)
    status, shown, _ = command("bench", exported("lif", n=6).path, "--batch", 2)
    assert status == 0
    for runtime in ("eager", "torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"):
        assert f" {runtime} " in shown
