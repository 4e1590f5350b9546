"""Weights as float32, int16 and int8: Diehl & Cook's network of 1600 neurons, its weights on finer and coarser grids."""

from collections.abc import Iterator

from deploy_snn.bundle import Bundle
from deploy_snn.tensors import Arrays

from .diehl_cook import N_INPUT, RATES, diehl_cook, drawn_inputs, traffic
from .hand import diehl_cook_by_hand
from .ours import compiled
from .rounds import Case, Contender, agreement

N = 1600
FLOAT32, INT16, INT8 = "c, float32", "c, int16", "c, int8"
BITS = {FLOAT32: None, INT16: 14, INT8: 9}
"""Of the grid: none, one that int16 holds, and one that int8 holds."""


def cases() -> Iterator[Case]:
    """Each rate. The memory allows what is said for int8."""
    for rate in RATES:
        inputs = drawn_inputs(N, rate)
        bundles = {name: diehl_cook(N, bits) for name, bits in BITS.items()}
        contenders = {
            name: (lambda bundle=bundle, inputs=inputs: _checked(bundle, inputs)) for name, bundle in bundles.items()
        }
        yield Case(f"{N_INPUT} -> {N}, {rate:.0%}", contenders, *traffic(bundles[INT8], inputs))


def _checked(bundle: Bundle, inputs: Arrays) -> Contender:
    """C, whose spikes are those of the loop by hand with the same weights; each grid has spikes of its own."""
    ours = compiled(bundle, inputs)
    agreed = agreement(diehl_cook_by_hand(bundle, inputs).spikes, ours)
    return Contender(ours.steps, ours.seconds, {}, note=f"by hand with these weights: {agreed}")
