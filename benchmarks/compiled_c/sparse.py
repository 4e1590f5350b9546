"""100,000 LIF neurons with 20 synapses each, 80 % of them excitatory, and one synapse each from 1,000 inputs."""

import importlib
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.network import Network, Sparse
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.tensors import Array, Arrays

from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .brian import BRIAN, input_spikes, with_brian
from .hand import decay_of
from .ours import FORMATS, ONNX, PYTHON, C, compiled, new_folder, with_runtime
from .rounds import Case, Contender, Skipped, dense, events
from .scan import JAX, jax, with_jax

NEST = "NEST"
N, FAN_OUT, N_INPUT, RATE, STEPS, SEED = 100_000, 20, 1000, 0.1, 100, 0
TAU, FEED, EXCITATORY, INHIBITORY = 20.0, 8.0, 1.0, -4.0
WINDOWS = 100
"""NEST's input lasts for so many rounds, since it goes on from round to round."""


def cases() -> Iterator[Case]:
    """The one case. The tables of NEST and of ours differ: NEST keeps a double, a delay and more for each synapse."""
    rng = np.random.default_rng(SEED)
    synapses = _synapses(rng)
    bundle = _export(synapses)
    inputs = {"X.x": (rng.random((STEPS, 1, N_INPUT)) < RATE).astype(np.float32)}
    step, index = events(inputs["X.x"])
    given = {"decay": decay_of(bundle, "layers.pool.neuron.decay"), "neurons": N, "inputs": N_INPUT}
    given |= synapses | input_spikes(step, index, len(step))
    ours = compiled(bundle, inputs)
    reached = ours.spikes["pool.s"].mean()
    recurrent, feed = (_bytes_of(bundle, suffix) for suffix in ("_2", ""))
    yield Case(
        f"sparse, {N:,} neurons, {FAN_OUT} synapses each, {reached:.1%} spike",
        {
            C: lambda: ours,
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            ONNX: lambda: with_runtime("onnxruntime-cpu", bundle, inputs),
            JAX: lambda: _jax(given, synapses, inputs),
            BRIAN: lambda: with_brian("sparse", "sparse", STEPS, given, {"pool.s": N}),
            NEST: lambda: _nest(synapses, inputs),
        },
        step_bytes(bundle, recurrent * reached + feed * RATE),
        state_bytes(bundle) + parameter_bytes(bundle),
    )


def _bytes_of(bundle: Bundle, suffix: str) -> int:
    return sum(parameter_bytes(bundle, f"_{part}{suffix}") for part in ("target", "w"))


def _synapses(rng: np.random.Generator) -> Arrays:
    """Sources, targets and weights. No two synapses have the same source and target."""
    pairs = np.unique(np.repeat(np.arange(N), FAN_OUT) * N + rng.integers(0, N, N * FAN_OUT))
    return {
        "feed_i": rng.integers(0, N_INPUT, N),
        "feed_j": np.arange(N),
        "feed_w": np.full(N, FEED, np.float32),
        "recur_i": pairs // N,
        "recur_j": pairs % N,
        "recur_w": np.where(pairs // N < 0.8 * N, EXCITATORY, INHIBITORY).astype(np.float32),
    }


def _export(synapses: Arrays) -> Bundle:
    network = Network()
    network.add_layer(Input(n=N_INPUT), "X")
    network.add_layer(LIFNodes(n=N, tc_decay=TAU), "pool")
    for name, source, size in (("feed", "X", N_INPUT), ("recur", "pool", N)):
        indices = torch.from_numpy(np.stack([synapses[f"{name}_i"], synapses[f"{name}_j"]]))
        w = torch.sparse_coo_tensor(indices, torch.from_numpy(synapses[f"{name}_w"]), (size, N), check_invariants=True)
        network.add_connection(Sparse(w), source, "pool")
    return deploy_snn.export(network, new_folder("sparse"), formats=FORMATS, golden_steps=0)


def _jax(given: dict[str, Any], synapses: Arrays, inputs: Arrays) -> Contender:
    """Each target gathers from its sources and ``segment_sum`` adds up, as spikes are dense in JAX."""
    package = jax()
    jnp = package.numpy
    order = {name: np.argsort(synapses[f"{name}_j"], kind="stable") for name in ("feed", "recur")}
    lists = {name: [jnp.asarray(synapses[f"{name}_{part}"][order[name]]) for part in "ijw"] for name in order}
    decay = given["decay"]

    def drive(name, z):  # noqa: ANN001, ANN202
        i, j, w = lists[name]
        return package.ops.segment_sum(z[i] * w, j, num_segments=N, indices_are_sorted=True)

    def step(state, now):  # noqa: ANN001, ANN202
        (v, count, last_x, last_s), (x,) = state, now
        total = drive("feed", last_x) + drive("recur", last_s)
        v = decay * (v + 65.0) - 65.0 + jnp.where(count > 0, 0.0, total)
        s = v >= -52.0
        return (jnp.where(s, -65.0, v), jnp.where(s, 5.0, count - 1.0), x, s.astype(jnp.float32)), (s,)

    start = [np.full(N, -65.0, np.float32), *(np.zeros(size, np.float32) for size in (N, N_INPUT, N))]
    return with_jax(step, start, [inputs["X.x"][:, 0]], ["pool.s"])


def _nest(synapses: Arrays, inputs: Arrays) -> Contender:
    """``iaf_psc_delta``, in float64. It cannot be set back, so that each round is the next window of the same input."""
    os.environ["PYNEST_QUIET"] = "1"
    try:
        nest: Any = importlib.import_module("nest")
    except ModuleNotFoundError:
        raise Skipped("NEST is not installed") from None
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.set(resolution=1.0, local_num_threads=1)
    rest = {"E_L": -65.0, "V_reset": -65.0, "V_m": -65.0}
    neurons = nest.Create("iaf_psc_delta", N, params={"V_th": -52.0, "tau_m": TAU, "t_ref": 5.0, "I_e": 0.0, **rest})
    sources = nest.Create("spike_generator", N_INPUT)
    sources.set([{"spike_times": times} for times in _spike_times(inputs["X.x"])])
    for name, group in (("feed", sources), ("recur", neurons)):
        w = synapses[f"{name}_w"].astype(np.float64)
        ends = [synapses[f"{name}_{end}"] + of[0].global_id for end, of in (("i", group), ("j", neurons))]
        nest.Connect(*ends, "one_to_one", syn_spec={"weight": w, "delay": np.ones(len(w))})
    recorder = nest.Create("spike_recorder")
    nest.Connect(neurons, recorder)
    nest.Prepare()

    def seconds() -> float:
        begin = time.perf_counter()
        nest.Run(float(STEPS))
        return time.perf_counter() - begin

    seconds()
    found = recorder.events
    step = np.round(found["times"]).astype(int) - 1
    spikes = dense(step, found["senders"] - neurons[0].global_id, (STEPS, N))
    return Contender(STEPS, seconds, {"pool.s": spikes}, exact=False)


def _spike_times(x: Array) -> list[list[float]]:
    """The times of each input in ms, again and again in each window. A spike of step 0 is at 1 ms."""
    windows = np.arange(WINDOWS) * STEPS + 1.0
    return [np.add.outer(windows, np.flatnonzero(x[:, 0, i])).ravel().tolist() for i in range(x.shape[2])]
