"""Damaged bundles are refused, and an interrupted export leaves no partial bundle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.manifest import SCHEMA
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import PORTABLE
from deploy_snn.registry import FORMATS, RUNTIMES

Exported = Callable[..., Bundle]


@pytest.fixture
def copy(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("lif", n=6).path, tmp_path / "lif"))


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def reseal(folder: Path) -> None:
    """Make the manifest say that the files are as they are now."""

    def change(manifest: dict) -> None:
        for name, entry in manifest["files"].items():
            data = (folder / name).read_bytes()
            entry.update(bytes=len(data), sha256=sha256(data).hexdigest())

    edit(folder, change)


def test_open_and_repr(exported: Exported) -> None:
    bundle = Bundle.open(exported("lif", n=6).path)
    files = {file for name in PORTABLE for file in FORMATS[name].files}
    assert set(bundle.manifest.files) == files | {
        "initial_state.safetensors",
        "parameters.safetensors",
        "golden.safetensors",
    }
    assert bundle.manifest.source.name == "LIFNodes"
    assert bundle.initial_state(3)["v"].shape == (3, 6)
    assert (bundle.initial_state(3)["v"] == -65).all()
    with pytest.raises(InvalidInput, match="batch=0"):
        bundle.initial_state(0)


@pytest.mark.parametrize("name", ["step.onnx", "model.pt", "model.pt2", "golden.safetensors", "initial_state.safetensors"])
def test_a_truncated_file(copy: Path, name: str) -> None:
    os.truncate(copy / name, 300)
    with pytest.raises(InvalidInput, match=rf"{name} has 300 bytes, not \d+: truncated or changed"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("name", "runtime"), [("step.onnx", "onnxruntime-cpu"), ("model.pt", "torchscript"), ("model.pt2", "pt2")]
)
def test_truncated_file_with_a_matching_manifest(copy: Path, name: str, runtime: str) -> None:
    os.truncate(copy / name, 300)
    reseal(copy)
    bundle = Bundle.open(copy)
    with pytest.raises(InvalidInput, match=name):
        step(bundle, runtime)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("step.onnx", "onnxruntime-cpu"), ("step.onnx", "onnx-reference"), ("model.pt", "torchscript"), ("model.pt2", "pt2")],
)
def test_file_with_another_contract(copy: Path, exported: Exported, name: str, runtime: str) -> None:
    shutil.copy(exported("if", n=7).path / name, copy / name)
    reseal(copy)
    bundle = Bundle.open(copy)
    with pytest.raises(
        InvalidInput,
        match=rf"the contract of .*{name} differs from the manifest: .*"
        r"axes of tensor 'x' is \[batch, neuron=7\] instead of \[batch, neuron=6\]",
    ):
        step(bundle, runtime)


def step(bundle: Bundle, runtime: str) -> None:
    opened = RUNTIMES[runtime](bundle)
    golden = bundle.golden()
    opened.start(golden.start)
    opened.step({name: array[0] for name, array in golden.inputs.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=SCHEMA + 1), "reads only up to .*: install a newer deploy_snn"),
        (lambda m: m["files"]["model.pt"].update(sha256="0" * 64), "model.pt has changed since the export"),
        (lambda m: m["contract"]["tensors"][1]["axes"][1].update(size=7), "initial state 'v' .* is 6, not 7"),
        (lambda m: m["contract"].update(dt=-1), "contract.dt: Input should be greater than 0"),
        (lambda m: m["files"].update({"../outside": {"bytes": 0, "sha256": ""}}), "names a file outside the bundle"),
        (
            lambda m: m["files"].update({"more.onnx": {"bytes": 0, "sha256": ""}}),
            "more.onnx is missing, but the manifest lists it",
        ),
        (lambda m: m.pop("source"), "source: Field required"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
    ],
)
def test_invalid_manifest(copy: Path, change: Callable[[dict], None], message: str) -> None:
    edit(copy, change)
    with pytest.raises(InvalidInput, match=message):
        Bundle.open(copy)


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ("[]", "is damaged"), (None, "is not a bundle")])
def test_missing_or_damaged_manifest(copy: Path, text: str | None, message: str) -> None:
    (copy / "manifest.json").unlink() if text is None else (copy / "manifest.json").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        Bundle.open(copy)


EXPORT = """
    import sys
    from pathlib import Path
    from deploy_snn.cli.export import export_model
    from deploy_snn.registry import FORMATS
    {fault}
    export_model("lif", {{"n": 4}}, Path(sys.argv[1]), golden_steps=5)
"""
HANG = """
    import time
    FORMATS["torchscript"].write = lambda *_: (print("writing", flush=True), time.sleep(60))
"""


def child(target: Path, fault: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(EXPORT).format(fault=textwrap.dedent(fault))
    return subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("before", [False, True])
def test_killed_export_leaves_no_partial_bundle(tmp_path: Path, exported: Exported, before: bool) -> None:
    target = tmp_path / "lif"
    if before:
        shutil.copytree(exported("lif", n=6).path, target)
    hanging = child(target, HANG)
    assert hanging.stdout is not None
    assert hanging.stdout.readline() == "writing\n"
    hanging.send_signal(signal.SIGKILL)
    hanging.wait()
    hanging.stdout.close()
    assert target.exists() == before
    if before:
        assert Bundle.open(target).contract == exported("lif", n=6).contract
    assert len(list(tmp_path.iterdir())) == 1 + before  # what the dead export left
    after = child(target)
    assert after.wait() == 0
    after.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["lif"]  # and the next one cleared away
    assert Bundle.open(target).contract.tensors[0].shape(batch=1) == (1, 4)


def test_export_killed_between_renames_keeps_the_old_bundle(tmp_path: Path, exported: Exported) -> None:
    """The bundle that was to be replaced stands aside when the kill comes: the next export puts it back first."""
    shutil.copytree(exported("lif", n=6).path, tmp_path / ".lif.partial-999999-x-aside")
    refused = child(tmp_path / "lif", 'FORMATS["onnx"].write = None')
    refused.communicate()
    assert refused.returncode != 0
    assert Bundle.open(tmp_path / "lif").contract == exported("lif", n=6).contract


def test_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deploy_snn.formats.pt2._save", full)
    status, _, message = command("export", "lif", "--n", 4, "-o", tmp_path / "lif")
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert "lif cannot be written: No space left on device" in message


@pytest.mark.parametrize("way", ["file", "folder", "below a file"])
def test_export_does_not_overwrite_other_files(tmp_path: Path, way: str, command: Callable) -> None:
    target = tmp_path / "taken"
    if way == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("years of work")
    else:
        target.write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    status, _, message = command("export", "lif", "--n", 4, "-o", target / "deeper" if way == "below a file" else target)
    assert status == 2
    assert message.count("\n") == 1
    assert "taken" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_replaces_a_bundle(tmp_path: Path, command: Callable) -> None:
    for n in (4, 5):
        assert command("export", "lif", "--n", n, "--format", "onnx", "-o", tmp_path / "lif")[0] == 0
    bundle = Bundle.open(tmp_path / "lif")
    assert bundle.contract.inputs[0].shape(batch=1) == (1, 5)
    assert "model.pt" not in bundle.manifest.files
    with pytest.raises(InvalidInput, match=r"has no model\.pt, only"):
        step(bundle, "torchscript")
