"""Stimuli have the right shapes and values, depend on their seed only, and make neurons fire."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from deploy_snn.contract import check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.neurons import NEURONS, NeuronProgram
from deploy_snn.parity import Request, make_stimulus, record_reference
from deploy_snn.parity.digits import load_images, resize
from deploy_snn.registry import STIMULI


@pytest.mark.parametrize("kind", STIMULI)
@pytest.mark.parametrize("name", NEURONS)
def test_stimuli_fit_the_contract_and_make_neurons_fire(kind: str, name: str) -> None:
    program = NeuronProgram(NEURONS[name](shape=(4, 4)))
    stimulus, repeated = (make_stimulus(kind, Request(program, 60, 3, 5)) for _ in range(2))
    check_tensors((spec.in_time() for spec in program.contract.inputs), stimulus.inputs, "input", {"time": 60, "batch": 3})
    assert all((stimulus.inputs[key] == repeated.inputs[key]).all() for key in stimulus.inputs)
    if "noise" in stimulus.inputs:
        assert (stimulus.inputs["noise"].min(), stimulus.inputs["noise"].max()) >= (0, 0.9)
        assert stimulus.inputs["noise"].max() < 1
    fired = np.mean(record_reference(program, stimulus).outputs["s"])
    assert fired > 0.001
    assert fired < 0.6 or name == "input"  # an Input passes a constant through


def test_stimulus_is_determined_by_its_seed() -> None:
    program = NeuronProgram(NEURONS["lif"](n=8))
    a, b = (make_stimulus("poisson", Request(program, 50, 1, seed)).inputs["x"] for seed in (1, 2))
    assert (a != b).any()


def test_sliding_window() -> None:
    program = NeuronProgram(NEURONS["csrm"](n=8, res_window_size=5))
    x = make_stimulus("poisson", Request(program, 40, 2, 0)).inputs["x"]  # [T, B, W, N]
    assert x.shape == (40, 2, 5, 8)
    assert_array_equal(x[1:, :, :-1], x[:-1, :, 1:])
    assert (x[0, :, :-1] == 0).all()
    assert x[:, :, -1].any()


def test_digits_match_the_images() -> None:
    images = load_images()
    assert_array_equal(resize(images, (64,)), images.reshape(-1, 64))
    assert_array_equal(resize(images, (1, 8, 8))[:, 0], images)
    assert_array_equal(resize(images, (16, 16))[:, ::2, ::2], images)
    program = NeuronProgram(NEURONS["input"](n=64))
    shown = make_stimulus("digits", Request(program, 100, 1, 0)).inputs["x"][:, 0] > 0
    rates = shown.mean(axis=0)
    nearest = np.abs(images.reshape(-1, 64) / 2 - rates).mean(axis=1)  # the spike probability of a pixel is 0.5 at most
    assert nearest.min() < 0.03
    assert (rates[images[nearest.argmin()].ravel() == 0] == 0).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.full((5, 1, 8), np.nan, np.float32)}, "must be finite, but is nan at"),
        ({"x": np.full((5, 1, 8), np.inf, np.float32)}, "must be finite, but is inf at"),
        ({"x": np.zeros((5, 1, 9), np.float32)}, "is 9, not 8"),
        ({"x": np.zeros((5, 8), np.float32)}, "2 axes, not 3"),
        ({"x": np.zeros((5, 1, 8))}, "convert it to float32"),
        ({"x": np.zeros((0, 1, 8), np.float32)}, "'time' is empty"),
        ({"y": np.zeros((5, 1, 8), np.float32)}, "'x' is missing"),
    ],
)
def test_invalid_stimulus_files(arrays: dict, message: str, tmp_path: Path) -> None:
    save_file(arrays, tmp_path / "drive.safetensors")
    program = NeuronProgram(NEURONS["lif"](n=8))
    with pytest.raises(InvalidInput, match=message):
        make_stimulus(str(tmp_path / "drive.safetensors"), Request(program, 5, 1, 0))


def test_stimulus_from_a_file(tmp_path: Path, exported: Callable, command: Callable) -> None:
    rng = np.random.default_rng(0)
    save_file({"x": (30 * rng.random((20, 3, 6))).astype(np.float32)}, tmp_path / "drive.safetensors")
    status, shown, _ = command("parity", exported("lif", n=6).path, "--stimulus", tmp_path / "drive.safetensors")
    assert status == 0
    assert "batch 3" in shown
