"""``--json``, the argument MODEL (a neuron, a .py file, an imported file or a bundle), and noise from a seed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from deploy_snn.bundle import Bundle
from deploy_snn.noise import draw_noise
from deploy_snn.registry import NEURONS, RUNTIMES

Command = Callable[..., tuple[int, str, str]]
Exported = Callable[..., Bundle]


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A file with inputs of 40 steps for two rows of six neurons; a quarter of the elements is not 0."""
    x = np.zeros((40, 2, 6), np.float32)
    x.reshape(-1)[::4] = 25
    save_file({"x": x}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def result(command: Command, *arguments: object) -> object:
    status, shown, error = command(*arguments, "--json", "-")
    assert status == 0, error
    return json.loads(shown)


def test_list_and_describe_as_json(command: Command) -> None:
    found = result(command, "list")
    assert isinstance(found, dict)
    assert [record["name"] for record in found["neurons"]] == list(NEURONS)
    usable = {record["name"]: record["usable"] for record in found["runtimes"]}
    assert usable.keys() == set(RUNTIMES)
    assert usable["eager"] is True
    [lif] = result(command, "describe", "lif")  # type: ignore[misc]
    assert {"name": "thresh", "default": -52.0, "unit": "mV", "about": "threshold, in mV."} in lif["keywords"]


def test_inspect_as_json(exported: Exported, command: Command, tmp_path: Path) -> None:
    bundle = exported("lif", n=6)
    found = result(command, "inspect", bundle.path)
    assert isinstance(found, dict)
    assert found["contract"] == bundle.contract.model_dump(mode="json")
    step = next(graph for graph in found["graphs"] if graph["file"] == "step.onnx")
    assert step["nodes"] == {"Where": 3, "Sub": 2, "Add": 2, "Greater": 1, "Mul": 1, "GreaterOrEqual": 1}
    for name in ("step.onnx", "model.pt"):
        assert command("inspect", bundle.path / name, "--json", tmp_path / "one.json") == (0, "", "")
        assert json.loads((tmp_path / "one.json").read_text())["contract"] == found["contract"]


def test_bench_as_json_on_a_recording(
    exported: Exported, command: Command, drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy_snn.cli.bench.SECONDS", 0.02)
    path = exported("lif", n=6).path
    records = result(command, "bench", path, "--runtime", "onnxruntime-cpu,eager", "--input", drive)
    assert isinstance(records, list)
    assert [(record["runtime"], record["mode"]) for record in records] == [
        ("onnxruntime-cpu", "step"),
        ("onnxruntime-cpu", "sequence"),
        ("eager", "step"),
        ("eager", "sequence"),
    ]
    for record in records:
        assert record["batch"] == 2
        assert record["steps"] == 40
        assert record["input_share"] == pytest.approx(0.25)
        assert 0 < record["median_us"] <= record["p99_us"]
    single_step, whole = records[0]["median_us"], records[1]["median_us"]
    assert whole < single_step, "a step in a sequence is not faster than a call of one step"
    status, shown, _ = command("bench", path, "--runtime", "eager", "--input", drive)
    assert status == 0
    assert "25.0 % of the inputs spiked" in shown
    assert command("bench", path, "--input", drive, "--batch", 3)[0] == 2


def test_run_of_a_model_equals_run_of_its_bundle(exported: Exported, command: Command, drive: Path) -> None:
    outputs = []
    for number, model in enumerate(([exported("lif", n=6).path], ["lif", "--n", 6], ["LIFNodes", "--shape", 6])):
        out = drive.with_name(f"out{number}.safetensors")
        status, shown, error = command("run", *model, "--input", drive, "--output", out)
        assert status == 0, error
        assert "40 steps of a batch of 2" in shown
        outputs.append(load_file(out)["s"])
    assert outputs[0].any()
    assert_array_equal(outputs[0], outputs[1])
    assert_array_equal(outputs[0], outputs[2])
    status, _, error = command("run", exported("lif", n=6).path, "--n", 6, "--input", drive, "--output", out)
    assert (status, "--n can only be used with a MODEL" in error) == (2, True)


def test_equal_seeds_give_equal_bits(exported: Exported, command: Command, drive: Path) -> None:
    """Equal seeds give equal spikes in two runtimes, as does the noise as an input. Another seed gives other spikes."""
    bundle = exported("diehl-and-cook", n=6)
    arguments = ("run", bundle.path, "--input", drive, "--output")
    spikes = {}
    for name, options in {
        "a": ["--seed", 3],
        "b": ["--seed", 3, "--runtime", "torchscript"],
        "other": ["--seed", 4],
    }.items():
        out = drive.with_name(f"{name}.safetensors")
        status, shown, error = command(*arguments, out, *options)
        assert status == 0, error
        assert f"noise drawn with --seed {options[1]}: noise" in shown
        with safe_open(out, "np") as file:
            assert file.metadata()["seed"] == str(options[1])
        spikes[name] = load_file(out)["s"]
    assert spikes["a"].any()
    assert_array_equal(spikes["a"], spikes["b"])
    assert (spikes["a"] != spikes["other"]).any()
    given = load_file(drive)
    save_file(given | draw_noise(bundle.contract, given, 3), drive.with_name("all.safetensors"))
    status, shown, _ = command(
        "run", bundle.path, "--input", drive.with_name("all.safetensors"), "--output", drive.with_name("c.safetensors")
    )
    assert (status, "noise drawn" in shown) == (0, False)
    assert_array_equal(spikes["a"], load_file(drive.with_name("c.safetensors"))["s"])
    status, _, error = command(*arguments, drive.with_name("d.safetensors"))
    assert (status, "input 'noise' is missing" in error, "--seed N" in error) == (2, True, True)


def test_noise_depends_on_seed_and_name_only(exported: Exported) -> None:
    contract = exported("diehl-and-cook", n=6).contract
    x = np.zeros((30, 2, 6), np.float32)
    whole, part = (draw_noise(contract, {"x": x[:steps]}, 7)["noise"] for steps in (30, 10))
    assert whole.shape == (30, 2, 6)
    assert whole.dtype == np.float32
    assert 0 <= whole.min() < 0.1
    assert 0.9 < whole.max() < 1
    assert_array_equal(whole[:10], part)
    assert draw_noise(contract, {"x": x, "noise": whole}, 7) == {}


def test_progress_of_a_long_run(exported: Exported, command: Command, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("run", exported("lif", n=6).path, "--input", drive, "--output")
    status, _, error = command(*arguments, drive.with_name("whole.safetensors"))
    assert (status, error) == (0, ""), "a short run prints to stderr"
    monkeypatch.setattr("deploy_snn.cli.run.STEPS_PER_CALL", 15)
    monkeypatch.setattr("deploy_snn.cli.progress.INTERVAL", 0.0)
    status, _, error = command(*arguments, drive.with_name("parts.safetensors"))
    assert status == 0
    name = exported("lif", n=6).name
    assert error.splitlines() == [f"{name}: {steps} of 40 steps" for steps in (15, 30, 40)]
    whole, parts = (load_file(drive.with_name(f"{name}.safetensors")) for name in ("whole", "parts"))
    assert_array_equal(whole["s"], parts["s"])


def test_progress_of_an_export(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy_snn.cli.progress.INTERVAL", 0.0)
    status, _, error = command("export", "if", "--n", 2, "--format", "onnx,torchscript", "-o", tmp_path / "if")
    assert status == 0
    assert error.splitlines() == [f"export if: {stage}" for stage in ("golden trace", "onnx", "torchscript")]


def test_singular_and_plural(exported: Exported, command: Command, drive: Path) -> None:
    save_file({"x": np.zeros((1, 1, 6), np.float32)}, drive)
    _, shown, _ = command("run", exported("lif", n=6).path, "--input", drive, "--output", drive.with_name("o.safetensors"))
    assert shown.startswith("1 step of a batch of 1 on onnxruntime-cpu: 0 spikes, written to")


def test_serve_takes_a_model(tmp_path: Path) -> None:
    """serve takes a neuron's name and a .py file. It runs in its own process."""
    pytest.importorskip("starlette")
    code = (
        "import sys, json, threading\n"
        "from deploy_snn.cli import serve\n"
        "import deploy_snn.server\n"
        "def listen(settings, host, port):\n"
        "    names = [bundle.path.name for bundle in settings.bundles]\n"
        "    print(json.dumps([names, [bundle.contract.inputs[0].shape(batch=1) for bundle in settings.bundles]]))\n"
        "deploy_snn.server.listen = listen\n"
        "sys.argv = ['deploy-snn', 'serve', 'lif', 'mine.py', '--shape', '3']\n"
        "from deploy_snn.cli.main import main\n"
        "main()\n"
    )
    (tmp_path / "mine.py").write_text(
        "from deploy_snn.neurons import IFNodes\n\n\ndef build(shape=(3,)):\n    return IFNodes(shape=shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [["lif", "mine"], [[1, 3], [1, 3]]]
