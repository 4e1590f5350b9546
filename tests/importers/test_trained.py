"""Networks that BindsNET trained on digits (``benchmarks/train_bindsnet.py``), on every runtime, against BindsNET itself.

Every spike and every label is compared, for a batch of 100 digits that are not in the training set. The files were made by
``python benchmarks/train_bindsnet.py tests/importers/trained --size 60 --digits 300 --steps 100``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime, usable_runtimes

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)
from . import bindsnet_networks as build

pytestmark = pytest.mark.usefixtures("peer")
Command = Callable[..., tuple[int, str, str]]

TRAINED = Path(__file__).parent / "trained"
STEPS, DIGITS = 100, 100
CASES = {"two_layers": ("Y", 0.25), "diehl_and_cook": ("Ae", 0.55)}
"""For each network, the output layer, and an accuracy well above chance (0.1)."""


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return spikes ``[STEPS, DIGITS, 64]`` of the test digits, and their labels."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    pixels = loaded.data[-DIGITS:] / 16
    rng = np.random.default_rng(1)
    return (rng.random((STEPS, *pixels.shape)) < 0.5 * pixels).astype(np.float32), loaded.target[-DIGITS:]


@pytest.mark.parametrize("name", CASES)
def test_spikes_and_labels(name: str, tmp_path: Path) -> None:
    layer, least = CASES[name]
    file, labels = TRAINED / f"{name}.pt", TRAINED / f"{name}-labels.safetensors"
    bundle = export_model(str(file), {}, tmp_path / "b", golden_steps=2, snap=build.BITS, labels=labels)
    spikes, wanted = digits()
    inputs = {"X.x": spikes}
    noise = {}
    if name == "diehl_and_cook":
        inputs["Ae.noise"] = np.random.default_rng(2).random((STEPS, DIGITS, 60), np.float32)
        noise["Ae"] = torch.from_numpy(inputs["Ae.noise"])
    network = build.snap(torch.load(file, weights_only=False))
    expected = build.run(network, {"X": torch.from_numpy(spikes)}, noise)
    fired = expected[f"{layer}.s"].reshape(STEPS, DIGITS, -1)
    message = load_file(labels)
    evaluation = build.part("evaluation")
    predicted = evaluation.proportion_weighting(
        fired.transpose(0, 1).float(), message[f"{layer}.assignments"], message[f"{layer}.proportions"], 10
    ).numpy()
    assert (predicted == wanted).mean() > least
    runtimes = ["eager", *usable_runtimes(bundle)]
    assert {"torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"} < set(runtimes)
    for runtime in runtimes:
        stepper = find_runtime(runtime)(bundle)
        stepper.start(bundle.initial_state(DIGITS))
        recorded = stepper.run(inputs)
        for output in bundle.contract.outputs:
            theirs = expected[output.name].bool().reshape(recorded[output.name].shape).numpy()
            assert np.array_equal(recorded[output.name], theirs), f"{runtime}: {output.name}"
        counts = recorded[f"{layer}.s"].sum(0)
        assert np.array_equal(vote(bundle.manifest.readout, counts), predicted), runtime


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), weighs=st.booleans(), n=st.integers(1, 30), silent=st.booleans())
def test_votes_equal_bindsnets(seed: int, weighs: bool, n: int, silent: bool) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 2 if silent else 40, (7, n)) * (not silent or rng.random((7, 1)) < 0.5)
    assignments = rng.integers(-1, 10, n)
    proportions = rng.dirichlet(np.ones(10), n).astype(np.float32) if weighs else np.zeros((n, 0), np.float32)
    readout = Readout(
        layer="Y", assignments=tuple(assignments.tolist()), proportions=tuple(map(tuple, proportions.tolist()))
    )
    evaluation = build.part("evaluation")
    shown, given_assignments = torch.from_numpy(counts).unsqueeze(1).float(), torch.from_numpy(assignments)
    if weighs:
        theirs = evaluation.proportion_weighting(shown, given_assignments, torch.from_numpy(proportions), 10)
    else:
        theirs = evaluation.all_activity(shown, given_assignments, 10)
    assert np.array_equal(vote(readout, counts), theirs.numpy())


def test_run_prints_the_labels(tmp_path: Path, command: Command) -> None:
    from safetensors.numpy import save_file

    labels = TRAINED / "two_layers-labels.safetensors"
    assert (
        command("export", TRAINED / "two_layers.pt", "--labels", labels, "-o", tmp_path / "b", "--format", "onnx")[0] == 0
    )
    spikes, _ = digits()
    save_file({"X.x": spikes[:, :3]}, tmp_path / "in.safetensors")
    status, shown, _ = command("run", tmp_path / "b", "--input", tmp_path / "in.safetensors", "--output", tmp_path / "out")
    assert status == 0
    message = shown.splitlines()[0]
    assert message.startswith("labels by the votes of Y, row by row: ")
    assert len(message.split(": ")[1].split()) == 3


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds nothing; expected LAYER.assignments"),
        ({"Y.assignment": np.zeros(60, np.int64)}, "expected LAYER.assignments"),
        ({"Y.assignments": np.zeros(60, np.int64), "Z.proportions": np.zeros((60, 10), np.float32)}, "expected LAYER"),
        ({"X.assignments": np.zeros(64, np.int64)}, "the model has no output 'X.s'; its outputs are Y.s"),
        ({"Y.assignments": np.zeros(59, np.int64)}, "must be 60 whole numbers"),
        ({"Y.assignments": np.zeros(60, np.float32)}, "must be 60 whole numbers"),
        ({"Y.assignments": np.full(60, -2)}, "must be 60 whole numbers"),
        (
            {"Y.assignments": np.full(60, 3), "Y.proportions": np.ones((60, 3), np.float32)},
            "expected [60, labels] with more than 3 labels",
        ),
        (
            {"Y.assignments": np.full(60, 3), "Y.proportions": np.full((60, 4), np.nan, np.float32)},
            "must be finite, but is nan at index [0, 0]",
        ),
    ],
)
def test_invalid_labels(tensors: dict, message: str, tmp_path: Path, command: Command) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "labels.safetensors")
    labels = ("--labels", tmp_path / "labels.safetensors")
    status, _, error = command("export", TRAINED / "two_layers.pt", *labels, "-o", tmp_path / "b")
    assert status == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "b").exists()
