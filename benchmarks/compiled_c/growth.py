"""How the time of a step grows with the number of neurons, the input rate and the number of steps in a call."""

from collections.abc import Iterator

from .diehl_cook import N_INPUT, STEPS, diehl_cook, drawn_inputs, scanned, traffic
from .hand import HAND, diehl_cook_by_hand
from .ours import PYTHON, C, compiled, with_runtime
from .rounds import Case
from .scan import JAX

N, RATE = 400, 0.05
SIZES = (100, 200, 400, 800, 1600, 3200)
RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LENGTHS = (1, 10, 100, 1000, 10_000)


def cases() -> Iterator[Case]:
    """One is changed at a time."""
    for n in SIZES:
        yield _case(f"N = {n:,}", n, RATE, STEPS)
    for rate in RATES:
        yield _case(f"rate {rate:.0%}", N, rate, STEPS)
    for steps in LENGTHS:
        yield _case(f"T = {steps:,}", N, RATE, steps)


def _case(what: str, n: int, rate: float, steps: int) -> Case:
    bundle, inputs = diehl_cook(n), drawn_inputs(n, rate, steps)
    return Case(
        f"{what} ({N_INPUT} -> {n}, {rate:.0%}, {steps:,} steps)",
        {
            C: lambda: compiled(bundle, inputs),
            PYTHON: lambda: with_runtime("c", bundle, inputs),
            HAND: lambda: diehl_cook_by_hand(bundle, inputs),
            JAX: lambda: scanned(bundle, inputs, n),
        },
        *traffic(bundle, inputs),
    )
