"""What the memory allows: the bytes that a step must touch, at the rate at which a core reads so much memory."""

import ctypes
import time
from functools import cache

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library
from deploy_snn.contract import Role, TensorSpec

SOURCE = """
#include <stddef.h>
#include <stdint.h>

uint64_t read_all(const uint64_t* words, size_t count, size_t times) {
  uint64_t sum = 0;
  for (size_t t = 0; t < times; t++) {
    for (size_t i = 0; i < count; i++) {
      sum += words[i];
    }
    __asm__ volatile("" : "+r"(sum) : : "memory");
  }
  return sum;
}
"""
SMALLEST, TURN_BYTES, TURNS = 4096, 2**28, 7
SPIKES = ("previous", "window")


def step_bytes(bundle: Bundle, weights: float) -> float:
    """The bytes that a step of one row touches at least.

    Each input is read once, each output written once, each state read and written once, and ``weights`` bytes of weights
    are read. Noise is left out: it decides only between neurons that spike in the same step. Spikes take a byte.
    """
    contract = bundle.contract
    given = sum(_bytes(spec) for spec in contract.inputs if spec.role is not Role.NOISE)
    returned = sum(_bytes(spec) for spec in contract.outputs)
    return given + returned + 2 * state_bytes(bundle) + weights


def state_bytes(bundle: Bundle) -> int:
    """The state of one row, as C keeps it."""
    return sum(_bytes(spec) for spec in bundle.contract.states)


def parameter_bytes(bundle: Bundle, ending: str = "") -> int:
    """The parameters that the C stores, or those of them whose name has this ending."""
    found = bundle.manifest.formats["c"]["parameters"]
    return sum(parameter["bytes"] for parameter in found if parameter["name"].endswith(ending))


def _bytes(spec: TensorSpec) -> int:
    shape = spec.shape(batch=1)
    return int(np.prod(shape)) * (1 if spec.kind in SPIKES else np.dtype(spec.dtype).itemsize)


def allowed_micros(touched: float, working_set: int) -> float:
    """The microseconds that reading so many bytes takes."""
    return touched / read_rate(max(SMALLEST, 1 << (working_set - 1).bit_length())) * 1e6


@cache
def read_rate(size: int) -> float:
    """Bytes a second that this core reads from a buffer of this size, again and again; the best of several turns."""
    read_all = ctypes.CDLL(str(build_library({"read_all.c": SOURCE}))).read_all
    words = np.ones(size // 8, np.uint64)
    count, times = ctypes.c_size_t(len(words)), max(1, TURN_BYTES // size)
    best = float("inf")
    for _ in range(TURNS):
        begin = time.perf_counter()
        read_all(ctypes.c_void_p(words.ctypes.data), count, ctypes.c_size_t(times))
        best = min(best, time.perf_counter() - begin)
    return size * times / best
