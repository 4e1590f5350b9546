"""JAX: ``jit`` of a ``lax.scan`` over the steps, what a user of spyx gets."""

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deploy_snn.tensors import Array

from .rounds import Contender, Skipped, timed

JAX = "JAX scan"


def jax() -> Any:
    """The package, on one thread. Raises Skipped if it is not installed."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        return importlib.import_module("jax")
    except ModuleNotFoundError:
        raise Skipped("JAX is not installed") from None


def with_jax(
    step: Callable[[Any, Any], Any], start: Sequence[Array], given: Sequence[Array], names: Sequence[str]
) -> Contender:
    """Scan ``step(state, inputs) -> (state, outputs)`` over inputs ``[steps, ...]``. ``names`` are those of the outputs."""
    package = jax()
    scan = package.jit(lambda state, xs: package.lax.scan(step, state, xs)[1])
    put = package.device_put
    state, xs = tuple(map(put, start)), tuple(map(put, given))

    def run() -> dict[str, Array]:
        return {name: np.asarray(array) for name, array in zip(names, scan(state, xs), strict=True)}

    return timed(run, len(given[0]), exact=False)  # XLA contracts products and sums
