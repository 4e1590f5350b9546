"""Networks from trained torch layers: sums equal torch's, and spikes equal a handwritten loop."""

import numpy as np
import pytest
import torch
from torch import nn

import deploy_snn
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Conv1d, Conv2d, Conv3d, Dense, MaxPool2d, Network, OneToOne
from deploy_snn.neurons import DifferenceLIFNodes, LIFNodes, Relay


@pytest.mark.parametrize(
    ("cls", "conv", "shape"),
    [
        (Conv1d, nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9)),
        (Conv2d, nn.Conv2d(2, 3, (3, 5), padding="same", bias=False), (2, 6, 7)),
        (Conv2d, nn.Conv2d(2, 3, 3, dilation=2, padding="valid"), (2, 7, 7)),
        (Conv3d, nn.Conv3d(1, 2, 2, stride=(1, 2, 1)), (1, 4, 5, 3)),
    ],
    ids=str,
)
def test_convolution_equals_torch(cls: type, conv: nn.Module, shape: tuple) -> None:
    x = torch.randn(3, *shape)
    connection = cls.from_conv(conv)
    expected = conv(x)
    network = Network(one_step=True)
    network.add_layer(Relay(shape=shape), "source", external=True)
    network.add_layer(Relay(shape=expected.shape[1:]), "target")
    network.add_connection(connection, "source", "target")
    assert torch.equal(connection.transmit(x), expected)


def handwritten_loop(layers: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    """The usual forward loop of training code: leak, drive, spike, subtract."""
    v = [torch.zeros(()), torch.zeros(())]
    spikes = []
    for now in x:
        v[0] = 0.75 * v[0] + layers[1](layers[0](now))
        first = (v[0] > 1).float()
        v[0] = torch.where(first > 0, v[0] - 1, v[0])
        v[1] = 0.75 * v[1] + layers[2](first)
        second = v[1] > 1
        v[1] = torch.where(second, v[1] - 1, v[1])
        spikes.append(second)
    return spikes


@torch.no_grad()
def test_trained_layers_match_a_handwritten_loop(tmp_path) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 5))
    for parameter in layers.parameters():
        parameter.copy_((parameter * 64).round() / 16)
    network = Network.sequential(
        layers[0],
        layers[1],
        DifferenceLIFNodes(72, decay=0.75),
        layers[2],
        DifferenceLIFNodes(5, decay=0.75),
        input_shape=(1, 8, 8),
    )
    assert list(network.layers) == ["input", "relay1", "layer1", "layer2"]
    x = (torch.rand(40, 3, 1, 8, 8) * 8).round() / 8
    expected = torch.stack(handwritten_loop(layers, x))
    assert 0.05 < expected.float().mean() < 0.95
    bundle = deploy_snn.export(network, tmp_path / "net", formats=["onnx", "torchscript"], golden_steps=3)
    for runtime in ("onnxruntime-cpu", "torchscript", "eager"):
        session = bundle.session(runtime, batch=3)
        outputs = session.run({"input.x": x.numpy()})
        assert np.array_equal(outputs["layer2.s"], expected.numpy()), runtime


def test_final_connection_outputs_numbers() -> None:
    linear = nn.Linear(4, 3)
    network = Network.sequential(LIFNodes(4), linear, inputs="spikes")
    state, inputs = network.initial_state(2), {"input.x": torch.ones(2, 4)}
    outputs, _ = network(inputs, state)
    assert torch.equal(outputs["output.s"], Dense.from_linear(linear).transmit(outputs["layer1.s"].float()))
    assert [type(wire) for wire in network.connections] == [OneToOne, Dense]


@pytest.mark.parametrize(
    ("modules", "options", "message"),
    [
        ((nn.Linear(3, 4),), {}, "the modules contain no neurons"),
        ((nn.Linear(3, 4), nn.ReLU(), LIFNodes(4)), {}, r"module 1 \(ReLU\) is not supported; expected neurons"),
        ((nn.Conv2d(1, 1, 3), LIFNodes(4)), {}, "input_shape="),
        ((nn.Linear(3, 4), LIFNodes(5)), {}, r"w is \[3, 4\], expected \[3, 5\]"),
        ((nn.Flatten(2), LIFNodes(5)), {"input_shape": (5,)}, "only Flatten"),
        ((nn.Linear(3, 4), LIFNodes(4)), {"inputs": "images"}, "expected 'values' or 'spikes'"),
        ((nn.Conv2d(1, 1, 9), LIFNodes(4)), {"input_shape": (1, 4, 4)}, "module 0"),
        ((nn.Conv2d(1, 1, 3, padding_mode="circular", padding=1), LIFNodes(4)), {"input_shape": (1, 4, 4)}, "padding_mode"),
        ((MaxPool2d(2), LIFNodes(4)), {"input_shape": (1, 4, 4)}, r"the pooling outputs \[1, 2, 2\]"),
    ],
)
def test_unsupported_modules(modules: tuple, options: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Network.sequential(*modules, **options)
