"""LIF neurons, each with a drive of its own."""

from collections.abc import Iterator

import numpy as np
import torch
from bindsnet_peer import Peer

from deploy_snn.tensors import Arrays

from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .bindsnet import BINDSNET, stepped
from .brian import BRIAN, with_brian
from .emx import EMX, with_emx
from .hand import HAND, decay_of, lif_by_hand
from .ours import ONNX, PYTHON, C, compiled, exported, with_runtime
from .rounds import Case, Contender
from .scan import JAX, jax, with_jax

N, STEPS, BINDSNET_STEPS = 100, 10_000, 1000


def cases() -> Iterator[Case]:
    """The one case."""
    bundle = exported("lif", {"n": N}, "lif")
    inputs = {"x": (np.random.default_rng(0).random((STEPS, 1, N)) * 3).astype(np.float32)}
    x, decay = inputs["x"], decay_of(bundle, "neuron.decay")
    yield Case(
        f"LIF, {N}",
        {
            C: lambda: compiled(bundle, inputs),
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            HAND: lambda: lif_by_hand(bundle, inputs),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs),
            JAX: lambda: _jax(decay, inputs),
            BRIAN: lambda: with_brian("lif", "lif", STEPS, {"x": x[:, 0], "decay": decay}, {"s": N}),
            BINDSNET: lambda: _bindsnet(inputs),
            EMX: lambda: with_emx(bundle, inputs),
        },
        step_bytes(bundle, 0),
        state_bytes(bundle) + parameter_bytes(bundle),
    )


def _jax(decay: float, inputs: Arrays) -> Contender:
    jnp = jax().numpy

    def step(state, now):  # noqa: ANN001, ANN202
        (v, count), (x,) = state, now
        v = decay * (v + 65.0) - 65.0 + jnp.where(count > 0, 0.0, x)
        s = v >= -52.0
        return (jnp.where(s, -65.0, v), jnp.where(s, 5.0, count - 1.0)), (s,)

    start = [np.full((1, N), -65.0, np.float32), np.zeros((1, N), np.float32)]
    return with_jax(step, start, [inputs["x"]], ["s"])


def _bindsnet(inputs: Arrays) -> Contender:
    drives = list(torch.from_numpy(inputs["x"][:BINDSNET_STEPS]))
    return stepped(Peer("LIFNodes", N, 1, drives, {}), "s", BINDSNET_STEPS)
