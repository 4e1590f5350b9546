"""The size of the golden trace is limited in proportion to the weights, and the manifest has its length."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import deploy_snn
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Conv2d, Network
from deploy_snn.neurons import Input, LIFNodes, NeuronProgram
from deploy_snn.parity import golden_steps_that_fit


def convolution(size: int) -> Network:
    """A network with few weights and many neurons, whose golden trace would be large without a limit."""
    network = Network()
    network.add_layer(Input(shape=(3, size, size)), "X")
    network.add_layer(LIFNodes(shape=(16, size, size), thresh=-64.0), "conv")
    network.add_connection(Conv2d(torch.rand(16, 3, 3, 3), padding=1), "X", "conv")
    return network


def test_small_model_has_200_steps() -> None:
    assert golden_steps_that_fit(NeuronProgram(LIFNodes(n=100))) == 200


def test_large_golden_trace_is_limited(tmp_path: Path) -> None:
    bundle = deploy_snn.export(convolution(16), tmp_path / "conv", formats=["onnx"])
    steps = bundle.manifest.golden.steps
    assert 2 < steps < 200
    assert bundle.golden().steps == steps
    size = (bundle.path / "golden.safetensors").stat().st_size
    assert 0.7 * 2**20 < size < 1.4 * 2**20
    weights = sum(array.nbytes for array in bundle.parameters().values())
    more = convolution(16)
    more.layers["conv"].neuron.register_buffer("ballast", torch.zeros(2**18))
    assert golden_steps_that_fit(more) > 1.9 * steps * (2**20 + weights) / (2**20 + weights)


def test_golden_steps_sets_the_length(tmp_path: Path, command: Callable) -> None:
    three = deploy_snn.export(LIFNodes(n=4), tmp_path / "three", formats=["onnx"], golden_steps=3)
    assert three.golden().steps == three.manifest.golden.steps == 3
    status, shown, _ = command("export", "lif", "--n", 4, "--format", "onnx", "--golden-steps", 0, "-o", tmp_path / "none")
    assert status == 0
    assert "no golden trace" in shown
    none = deploy_snn.open_bundle(tmp_path / "none")
    assert none.manifest.golden is None
    with pytest.raises(InvalidInput, match=r"has no golden\.safetensors"):
        none.golden()
    assert command("parity", tmp_path / "none", "--steps", 20)[0] == 0
    status, _, error = command("parity", tmp_path / "none", "--stimulus", "golden")
    assert (status, error.count("\n")) == (2, 1)
    with pytest.raises(InvalidInput, match="golden_steps=-1"):
        deploy_snn.export(LIFNodes(n=4), tmp_path / "minus", golden_steps=-1)
