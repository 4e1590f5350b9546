"""The loops of ``by_hand.c``: what a programmer writes for one model and no other. Their outputs are allocated once."""

import ctypes
from pathlib import Path

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library
from deploy_snn.tensors import Array, Arrays

from .rounds import Contender, timed

HAND = "by hand"
SOURCE = Path(__file__).parent.parent / "by_hand.c"


def by_hand() -> ctypes.CDLL:
    """The library, compiled with the compiler and the flags that our C is compiled with."""
    return ctypes.CDLL(str(build_library({"by_hand.c": SOURCE.read_text()})))


def address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def decay_of(bundle: Bundle, name: str) -> float:
    return float(bundle.parameters()[name])


def lif_by_hand(bundle: Bundle, inputs: Arrays) -> Contender:
    """LIF neurons."""
    library = by_hand()
    x = inputs["x"]
    steps, _, n = x.shape
    decay = ctypes.c_float(decay_of(bundle, "neuron.decay"))
    s, v, count = np.zeros((steps, 1, n), np.bool_), np.empty(n, np.float32), np.empty(n, np.float32)

    def run() -> Arrays:
        v.fill(-65.0)
        count.fill(0.0)
        library.lif_by_hand(steps, n, decay, address(x), address(v), address(count), address(s))
        return {"s": s}

    return timed(run, steps)


def diehl_cook_by_hand(bundle: Bundle, inputs: Arrays) -> Contender:
    """Diehl & Cook's network. Its weights are float32."""
    library = by_hand()
    x, noise = inputs["X.x"], inputs["exc.noise"]
    steps, n_input, n = len(x), x.shape[2], noise.shape[2]
    weights = np.ascontiguousarray(bundle.parameters()["connections.0.w"])
    decays = [ctypes.c_float(decay_of(bundle, f"layers.{layer}.neuron.decay")) for layer in ("exc", "inh")]
    start = [(-65.0, n), (0.0, n), (-60.0, n), (0.0, n), (0.0, n_input), (0.0, n), (0.0, n)]
    state = [np.empty(size, np.float32) for _, size in start]
    pointers = (ctypes.c_void_p * len(state))(*(array.ctypes.data for array in state))
    spikes = {name: np.zeros((steps, 1, n), np.bool_) for name in ("exc.s", "inh.s")}
    drive = np.zeros(n, np.float32)
    given = [address(array) for array in (weights, x, noise)]

    def run() -> Arrays:
        for array, (value, _) in zip(state, start, strict=True):
            array.fill(value)
        library.diehl_cook_by_hand(
            steps, n_input, n, *decays, *given, pointers, *map(address, spikes.values()), address(drive)
        )
        return spikes

    return timed(run, steps)
