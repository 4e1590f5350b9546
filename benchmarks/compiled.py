"""Compiled C against a hand-written loop, ONNX Runtime and JAX: microseconds a step, one thread, batch 1, one run.

``python benchmarks/compiled.py [--sizes 100,400,1600] [--rates 1,5,20] [--rounds 20] [--markdown FILE]``

The rounds of all contenders alternate, so that they share what else the machine does. JAX is left out by name if it is not
installed. All spikes are compared with those of the hand-written loop before anything is measured.
"""

import argparse
import ctypes
import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from tables import Table

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Array, Arrays

BY_HAND = Path(__file__).with_name("by_hand.c")
MODEL = Path(__file__).parent.parent / "models" / "diehl_cook_2015.py"
STEPS, N_INPUT, LIF_SIZE, SEED, SNAP = 500, 784, 100, 0, 14
HAND, COMPILED, ONNX, JAX = "by hand", "c", "ONNX Runtime sequence", "JAX scan"
Run = Callable[[], Arrays]


def address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def decay_of(bundle: Bundle, name: str) -> float:
    return float(bundle.parameters()[name])


def hand_written(bundle: Bundle, inputs: Arrays, n: int) -> Run:
    """The loop of ``by_hand.c`` for the model of the bundle."""
    library = ctypes.CDLL(str(build_library({"by_hand.c": BY_HAND.read_text()})))

    def filled(value: float, size: int = n) -> Array:
        return np.full(size, value, np.float32)

    def lif() -> Arrays:
        s, v, count = np.zeros((STEPS, 1, n), np.bool_), filled(-65.0), filled(0.0)
        decay = ctypes.c_float(decay_of(bundle, "neuron.decay"))
        library.lif_by_hand(STEPS, n, decay, address(inputs["x"]), address(v), address(count), address(s))
        return {"s": s}

    if "x" in inputs:
        return lif
    weights = np.ascontiguousarray(bundle.parameters()["connections.0.w"])
    decays = [ctypes.c_float(decay_of(bundle, f"layers.{layer}.neuron.decay")) for layer in ("exc", "inh")]

    def diehl_cook() -> Arrays:
        state = [filled(-65.0), filled(0.0), filled(-60.0), filled(0.0), filled(0.0, N_INPUT), filled(0.0), filled(0.0)]
        pointers = (ctypes.c_void_p * len(state))(*(array.ctypes.data for array in state))
        spikes = {name: np.zeros((STEPS, 1, n), np.bool_) for name in ("exc.s", "inh.s")}
        drive = filled(0.0)
        given = [address(a) for a in (weights, inputs["X.x"], inputs["exc.noise"])]
        library.diehl_cook_by_hand(
            STEPS, N_INPUT, n, *decays, *given, pointers, *map(address, spikes.values()), address(drive)
        )
        return spikes

    return diehl_cook


def with_runtime(name: str, bundle: Bundle, inputs: Arrays) -> Run:
    """A whole run of one of our runtimes from the initial state."""
    runtime = find_runtime(name)(bundle)
    start = bundle.initial_state(1)

    def run() -> Arrays:
        runtime.start(start)
        return runtime.run(inputs)

    return run


def with_jax(bundle: Bundle, inputs: Arrays, n: int) -> Run:
    """Diehl & Cook's network as ``jit`` of a ``lax.scan``."""
    jax: Any = importlib.import_module("jax")
    jnp = jax.numpy
    w = jnp.asarray(bundle.parameters()["connections.0.w"])
    decay, inh_decay = (decay_of(bundle, f"layers.{layer}.neuron.decay") for layer in ("exc", "inh"))

    def step(state: Any, now: Any) -> tuple[Any, Any]:
        v, count, inh_v, inh_count, last_x, last_exc, last_inh = state
        x, noise = now
        drive = last_x @ w - 17.5 * (last_inh.sum() - last_inh)
        v = decay * (v + 65.0) - 65.0 + jnp.where(count <= 0, drive, 0.0)
        fired = v >= -52.0
        s = fired & (jnp.arange(n) == jnp.where(fired, noise, -1.0).argmax())
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
    start = tuple(jnp.full(size, value, jnp.float32) for value, size in sizes)
    scan = jax.jit(lambda xs: jax.lax.scan(step, start, xs)[1])
    given = (jnp.asarray(inputs["X.x"][:, 0]), jnp.asarray(inputs["exc.noise"][:, 0]))

    def run() -> Arrays:
        exc, inh = scan(given)
        return {"exc.s": np.asarray(exc)[:, None], "inh.s": np.asarray(inh)[:, None]}

    return run


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """The median microseconds a step of each contender, in alternating rounds."""
    expected = runs[HAND]()
    for name, run in runs.items():
        for tensor, spikes in run().items():
            if not np.array_equal(spikes, expected[tensor]):
                raise SystemExit(f"{name}: the spikes of {tensor} differ from those of the loop by hand")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begin) / STEPS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def contenders(bundle: Bundle, inputs: Arrays, n: int) -> dict[str, Run]:
    runs = {
        HAND: hand_written(bundle, inputs, n),
        COMPILED: with_runtime("c", bundle, inputs),
        ONNX: with_runtime("onnxruntime-cpu", bundle, inputs),
    }
    if importlib.util.find_spec("jax") is not None and "x" not in inputs:
        runs[JAX] = with_jax(bundle, inputs, n)
    return runs


def row(title: str, measured: dict[str, float]) -> list[str]:
    cells = [f"{measured[name]:.3g}" if name in measured else "-" for name in (HAND, COMPILED, ONNX, JAX)]
    return [title, *cells, f"{measured[COMPILED] / measured[HAND]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,400,1600")
    parser.add_argument("--rates", default="5", help="input rates in percent")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        lif = export_model("lif", {"n": LIF_SIZE}, Path(folder) / "lif", formats=["onnx", "c"], golden_steps=0)
        drive = {"x": (rng.random((STEPS, 1, LIF_SIZE)) * 3).astype(np.float32)}
        rows.append(row(f"LIF, {LIF_SIZE}", measure(contenders(lif, drive, LIF_SIZE), options.rounds)))
        for n in map(int, options.sizes.split(",")):
            path = Path(folder) / f"diehl_cook_{n}"
            bundle = export_model(str(MODEL), {"n": n}, path, formats=["onnx", "c"], golden_steps=0, snap=SNAP)
            for rate in map(float, options.rates.split(",")):
                inputs = {
                    "X.x": (rng.random((STEPS, 1, N_INPUT)) < rate / 100).astype(np.float32),
                    "exc.noise": rng.random((STEPS, 1, n)).astype(np.float32),
                }
                measured = measure(contenders(bundle, inputs, n), options.rounds)
                rows.append(row(f"Diehl & Cook {N_INPUT} -> {n}, {rate:g} %", measured))
    columns = ["model", HAND, COMPILED, ONNX, JAX, "c / by hand"]
    result = Table("Microseconds a step, batch 1, one thread", columns, rows)
    console = Console(width=140)
    result.show(console)
    if importlib.util.find_spec("jax") is None:
        console.print("left out: JAX is not installed")
    if options.markdown:
        options.markdown.write_text(result.markdown())


if __name__ == "__main__":
    main()
