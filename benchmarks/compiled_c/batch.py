"""Diehl & Cook's network for a batch of 32, beside one product over all steps and rows, which computes no neuron."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from deploy_snn.tensors import Arrays

from .diehl_cook import N_INPUT, SIZES, diehl_cook, drawn_inputs, scanned, traffic
from .ours import ONNX, PYTHON, C, compiled, with_runtime
from .rounds import Case, Contender, timed
from .scan import JAX

PRODUCT = "the product alone"
BATCH, STEPS, RATE = 32, 250, 0.05


def cases() -> Iterator[Case]:
    """Each size."""
    for n in SIZES:
        yield _case(n)


def _case(n: int) -> Case:
    bundle, inputs = diehl_cook(n), drawn_inputs(n, RATE, STEPS, BATCH)
    w = torch.from_numpy(np.ascontiguousarray(bundle.parameters()["connections.0.w"]))
    touched, working_set = traffic(bundle, inputs)
    return Case(
        f"batch {BATCH}, {N_INPUT} -> {n}, {RATE:.0%}",
        {
            C: lambda: compiled(bundle, inputs, batch=BATCH),
            PYTHON: lambda: with_runtime("c", bundle, inputs, batch=BATCH),
            PRODUCT: lambda: _product(inputs, w),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs, batch=BATCH),
            JAX: lambda: scanned(bundle, inputs, n),
        },
        touched,
        working_set,
        BATCH,
    )


def _product(inputs: Arrays, w: torch.Tensor) -> Contender:
    flat = torch.from_numpy(inputs["X.x"]).flatten(0, 1)

    def run() -> Arrays:
        return {"drive": (flat @ w).numpy()}

    return replace(timed(run, STEPS), note="none, as it computes no neuron")
