"""A convolutional network of LIF neurons with spiking max pooling (Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682)."""

import torch

from deploy_snn.network import Conv2d, Dense, MaxPool2d, Network
from deploy_snn.neurons import IFNodes, Input, LIFNodes


def build(size: int = 8, channels: int = 4, classes: int = 10, dt: float = 1.0) -> Network:
    """``[1, size, size]`` -> convolution 3 x 3 -> pooling 2 x 2 -> ``classes``."""
    inner = size - 2
    network = Network()
    network.add_layer(Input(shape=(1, size, size), dt=dt), "X")
    network.add_layer(LIFNodes(shape=(channels, inner, inner), thresh=-60.0, refrac=1, tc_decay=20.0, dt=dt), "conv")
    network.add_layer(IFNodes(shape=(channels, inner // 2, inner // 2), thresh=-64.5, refrac=0, dt=dt), "pool")
    network.add_layer(LIFNodes(n=classes, thresh=-60.0, refrac=1, tc_decay=20.0, dt=dt), "readout")
    n_pooled = channels * (inner // 2) ** 2
    network.add_connection(Conv2d(3.0 * torch.rand(channels, 1, 3, 3)), "X", "conv")
    network.add_connection(MaxPool2d(2, decay=0.05), "conv", "pool")
    network.add_connection(Dense(4.0 * torch.rand(n_pooled, classes) - 1.0), "pool", "readout")
    return network
