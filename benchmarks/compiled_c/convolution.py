"""The convolutional network of models/conv_lif.py, with spiking max pooling."""

from collections.abc import Iterator

import numpy as np

from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .emx import EMX, with_emx
from .ours import MODELS, ONNX, PYTHON, C, compiled, exported, with_runtime
from .rounds import Case

SIZE, CHANNELS, STEPS, RATE, SEED, SNAP = 28, 16, 500, 0.05, 0, 12


def cases() -> Iterator[Case]:
    """The one case."""
    options = {"size": SIZE, "channels": CHANNELS}
    bundle = exported(str(MODELS / "conv_lif.py"), options, "conv_lif", SNAP)
    spikes = np.random.default_rng(SEED).random((STEPS, 1, 1, SIZE, SIZE)) < RATE
    inputs = {"X.x": spikes.astype(np.float32)}
    ours = compiled(bundle, inputs)
    dense = parameter_bytes(bundle, "pool_to_readout_w") * ours.spikes["pool.s"].mean()
    yield Case(
        f"convolution, {SIZE} x {SIZE} -> {CHANNELS} x {SIZE - 2} x {SIZE - 2}, {RATE:.0%}",
        {
            C: lambda: ours,
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs),
            EMX: lambda: with_emx(bundle, inputs),
        },
        step_bytes(bundle, parameter_bytes(bundle, "X_to_conv_w") + dense),
        state_bytes(bundle) + parameter_bytes(bundle),
    )
