"""Diehl & Cook's network, 784 -> N, at several sizes and input rates."""

from collections.abc import Iterator

import numpy as np
import torch

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.network import Dense, Lateral, Network, OneToOne
from deploy_snn.neurons import DiehlAndCookNodes, Input, LIFNodes
from deploy_snn.tensors import Arrays

from . import bindsnet
from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .brian import BRIAN, input_spikes, with_brian
from .emx import EMX, with_emx
from .hand import HAND, decay_of, diehl_cook_by_hand
from .ours import FORMATS, MODELS, ONNX, PYTHON, C, compiled, exported, new_folder, with_runtime
from .rounds import Case, Contender, events
from .scan import JAX, jax, with_jax

N_INPUT, STEPS, BINDSNET_STEPS, SEED, SNAP = 784, 1000, 100, 0, 14
SIZES, RATES = (100, 400, 1600), (0.05, 0.01, 0.2)
ROOM = int(1.1 * max(RATES) * STEPS * N_INPUT)


def cases() -> Iterator[Case]:
    """Each size at each rate, then each size without the choice of one winner, which Brian2 has not."""
    for rate in RATES:
        for n in SIZES:
            bundle = diehl_cook(n)
            yield network_case(bundle, n, drawn_inputs(n, rate), f"Diehl & Cook {N_INPUT} -> {n}, {rate:.0%}")
    for rate in RATES:
        for n in SIZES:
            yield _without_winner(n, drawn_inputs(n, rate), f"without a winner, {N_INPUT} -> {n}, {rate:.0%}")


def diehl_cook(n: int, snap: int | None = SNAP) -> Bundle:
    """The network with its weights on the grid of ``2**-snap``; with 14 bits C stores them as int16, with 9 as int8."""
    return exported(str(MODELS / "diehl_cook_2015.py"), {"n": n}, f"diehl_cook_{n}_{snap}", snap)


def drawn_inputs(n: int, rate: float, steps: int = STEPS, batch: int = 1) -> Arrays:
    """Input spikes at a rate per step, and the noise of the choice of a winner."""
    rng = np.random.default_rng(SEED)
    return {
        "X.x": (rng.random((steps, batch, N_INPUT)) < rate).astype(np.float32),
        "exc.noise": rng.random((steps, batch, n), np.float32),
    }


def network_case(bundle: Bundle, n: int, inputs: Arrays, title: str) -> Case:
    """All contenders on one core at batch 1."""
    w = bundle.parameters()["connections.0.w"]
    return Case(
        title,
        {
            C: lambda: compiled(bundle, inputs),
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            HAND: lambda: diehl_cook_by_hand(bundle, inputs),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs),
            JAX: lambda: scanned(bundle, inputs, n),
            bindsnet.BINDSNET: lambda: bindsnet.diehl_cook(n, w, inputs, BINDSNET_STEPS),
            EMX: lambda: with_emx(bundle, inputs),
        },
        *traffic(bundle, inputs),
    )


def traffic(bundle: Bundle, inputs: Arrays) -> tuple[float, int]:
    """The bytes that a step touches, and all bytes of the parameters and the state."""
    weights = parameter_bytes(bundle, "_w")
    read = inputs["X.x"].mean() * weights
    return step_bytes(bundle, read), state_bytes(bundle) + weights


def _without_winner(n: int, inputs: Arrays, title: str) -> Case:
    path = new_folder(f"without_winner_{n}")
    if path.exists():
        bundle = Bundle.open(path)
    else:
        bundle = deploy_snn.export(_network(n), path, formats=FORMATS, golden_steps=0, snap_bits=SNAP)
    given = {"X.x": inputs["X.x"]}
    step, index = events(inputs["X.x"])
    brian = {
        "w": bundle.parameters()["connections.0.w"],
        **{f"{layer}_decay": decay_of(bundle, f"layers.{layer}.neuron.decay") for layer in ("exc", "inh")},
        **input_spikes(step, index, ROOM),
    }
    spikes = {"exc.s": n, "inh.s": n}
    return Case(
        title,
        {
            C: lambda: compiled(bundle, given),
            PYTHON: lambda: with_runtime("c", bundle, given),
            BRIAN: lambda: with_brian("diehl_cook", f"{n}_{len(step)}", STEPS, brian, spikes),
        },
        *traffic(bundle, given),
    )


def _network(n: int) -> Network:
    """The network of ``models/diehl_cook_2015.py``, in which every neuron over the threshold spikes."""
    torch.manual_seed(SEED)
    exc = DiehlAndCookNodes(
        n=n, thresh=-52.0, rest=-65.0, reset=-60.0, refrac=5, tc_decay=100.0, learning=False, one_spike=False
    )
    network = Network()
    network.add_layer(Input(n=N_INPUT), "X")
    network.add_layer(exc, "exc")
    network.add_layer(LIFNodes(n=n, thresh=-40.0, rest=-60.0, reset=-45.0, refrac=2, tc_decay=10.0), "inh")
    w = torch.rand(N_INPUT, n)
    network.add_connection(Dense(w * (0.1 * N_INPUT / w.sum(0))), "X", "exc")
    network.add_connection(OneToOne(22.5), "exc", "inh")
    network.add_connection(Lateral(-17.5), "inh", "exc")
    return network


def scanned(bundle: Bundle, inputs: Arrays, n: int) -> Contender:
    """JAX. The inhibition is a sum, as it is here."""
    jnp = jax().numpy
    w = jnp.asarray(bundle.parameters()["connections.0.w"])
    decay, inh_decay = (decay_of(bundle, f"layers.{layer}.neuron.decay") for layer in ("exc", "inh"))
    batch = inputs["X.x"].shape[1]

    def step(state, now):  # noqa: ANN001, ANN202
        v, count, inh_v, inh_count, last_x, last_exc, last_inh = state
        x, noise = now
        drive = last_x @ w - 17.5 * (last_inh.sum(1, keepdims=True) - last_inh)
        v = decay * (v + 65.0) - 65.0 + jnp.where(count <= 0, drive, 0.0)
        fired = v >= -52.0
        s = fired & (jnp.arange(n) == jnp.where(fired, noise, -1.0).argmax(1, keepdims=True))
        inh_v = inh_decay * (inh_v + 60.0) - 60.0 + jnp.where(inh_count > 0, 0.0, 22.5 * last_exc)
        inh_s = inh_v >= -40.0
        after = (
            jnp.where(fired, -60.0, v),
            jnp.where(fired, 5.0, count - 1.0),
            jnp.where(inh_s, -45.0, inh_v),
            jnp.where(inh_s, 2.0, inh_count - 1.0),
            x,
            s.astype(jnp.float32),
            inh_s.astype(jnp.float32),
        )
        return after, (s, inh_s)

    sizes = [(-65.0, n), (0.0, n), (-60.0, n), (0.0, n), (0.0, N_INPUT), (0.0, n), (0.0, n)]
    start = [np.full((batch, size), value, np.float32) for value, size in sizes]
    return with_jax(step, start, [inputs["X.x"], inputs["exc.noise"]], ["exc.s", "inh.s"])
