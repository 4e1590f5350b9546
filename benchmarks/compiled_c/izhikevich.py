"""Izhikevich's thousand neurons (models/izhikevich_2003.py), with the thalamic noise of his paper."""

from collections.abc import Iterator

import numpy as np
import torch
from bindsnet_peer import Peer

from deploy_snn.tensors import Arrays

from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .bindsnet import BINDSNET, stepped
from .brian import BRIAN, with_brian
from .emx import EMX, with_emx
from .ours import MODELS, ONNX, PYTHON, C, compiled, exported, with_runtime
from .rounds import Case, Contender
from .scan import JAX, jax, with_jax

N, STEPS, BINDSNET_STEPS, SEED = 1000, 1000, 100, 0
STRENGTHS = (5.0, 2.0)
"""Of the noise: of excitatory and of inhibitory neurons."""


def cases() -> Iterator[Case]:
    """The one case."""
    bundle = exported(str(MODELS / "izhikevich_2003.py"), {"n": N}, "izhikevich_2003")
    noise = np.random.default_rng(SEED).standard_normal((STEPS, 1, N), np.float32)
    noise *= np.where(np.arange(N) < 0.8 * N, *STRENGTHS).astype(np.float32)
    inputs = {"cortex.x": noise}
    parameters = {name.rpartition(".")[2]: value for name, value in bundle.parameters().items()}
    given = {"x": noise[:, 0], **{name: parameters[name] for name in ("a", "b", "c", "d", "S")}}
    ours = compiled(bundle, inputs)
    weights = parameter_bytes(bundle, "_S")
    stored = parameter_bytes(bundle)
    yield Case(
        f"Izhikevich, {N:,}",
        {
            C: lambda: ours,
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs, exact=False),
            JAX: lambda: _jax(parameters, inputs),
            BRIAN: lambda: with_brian("izhikevich", "izhikevich", STEPS, given, {"cortex.s": N}),
            BINDSNET: lambda: _bindsnet(parameters, inputs),
            EMX: lambda: with_emx(bundle, inputs),
        },
        step_bytes(bundle, stored - weights + ours.spikes["cortex.s"].mean() * weights),
        state_bytes(bundle) + stored,
    )


def _jax(p: Arrays, inputs: Arrays) -> Contender:
    jnp = jax().numpy
    a, b, c, d = (jnp.asarray(p[name]) for name in ("a", "b", "c", "d"))
    w = jnp.asarray(p["S"].T)

    def step(state, now):  # noqa: ANN001, ANN202
        (v, u), (x,) = state, now
        s = v >= 30.0
        v, u = jnp.where(s, c, v), jnp.where(s, u + d, u)
        x = x + s.astype(jnp.float32) @ w
        for _ in range(2):
            v = v + 0.5 * (0.04 * (v * v) + 5 * v + 140 - u + x)
        return (v, u + a * (b * v - u)), (s,)

    v = np.full((1, N), -65.0, np.float32)
    return with_jax(step, [v, p["b"] * v], [inputs["cortex.x"]], ["cortex.s"])


def _bindsnet(p: Arrays, inputs: Arrays) -> Contender:
    """``layer.forward`` step by step. It reports a spike one step earlier than ours."""
    drives = list(torch.from_numpy(inputs["cortex.x"][:BINDSNET_STEPS]))
    parameters = {name: torch.from_numpy(p[name]) for name in ("a", "b", "c", "d", "S")}
    peer = Peer("IzhikevichNodes", N, 1, drives, parameters)
    peer.layer.thresh.fill_(30.0)
    return stepped(peer, "cortex.s", BINDSNET_STEPS)
