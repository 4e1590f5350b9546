"""What the tests of both compiled operators share: their models, inputs, and the flags of a strict build."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from deploy_snn import load_model
from deploy_snn.bundle import Bundle
from deploy_snn.contract import Role
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.tensors import Arrays

STRICT = ("-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC")


def models(source: str, target: str) -> dict[str, tuple[Callable[[], Any], int | None]]:
    """Functions that build models, with their ``snap_bits``. The names are those of the layers of "recorded"."""
    return {
        "diehl_cook_2015": (lambda: load_model("models/diehl_cook_2015.py", n=8, n_input=40), 10),
        "conv_lif": (lambda: load_model("models/conv_lif.py", size=6, channels=2), 10),
        "input": (lambda: load_model("input", n=5), None),
        "recorded": (partial(recorded, source, target), None),
    }


def recorded(source: str, target: str) -> Network:
    """A network with a state that is an output too, and with weights in a file."""
    torch.manual_seed(0)
    network = Network(record=[f"{target}.v"])
    network.add_layer(Input(n=1200), source)
    network.add_layer(LIFNodes(n=1000), target)
    network.add_connection(Dense((torch.rand(1200, 1000) * 64).round() / 64), source, target)
    return network


def draw(bundle: Bundle, steps: int, batch: int) -> Arrays:
    """Random spikes and noise for every input, ``[T, B, ...]``."""
    rng = np.random.default_rng(0)
    return {
        spec.name: (
            rng.random((steps, *spec.shape(batch=batch)), np.float32)
            if spec.role is Role.NOISE
            else (rng.random((steps, *spec.shape(batch=batch))) < 0.3).astype(np.float32)
        )
        for spec in bundle.contract.inputs
    }
