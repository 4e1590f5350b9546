"""The golden trace: a recorded run inside a bundle, with which a host can check itself without torch."""

import numpy as np

from deploy_snn.bundle import GoldenRecord, Trace
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.stimulus import Request, from_pattern
from deploy_snn.program import Program

GOLDEN_STEPS = 200
"""The length of a golden trace that fits into its budget."""
FEWEST_STEPS = 2
"""A shorter trace could not show whether a host keeps the state."""
GOLDEN_BATCH = 2
"""Two rows, so that a host that mixes up the rows of a batch cannot pass its check."""
BUDGET = 2**20
"""The size limit of a golden trace in bytes, without the share for the parameters. The size of the parameters is added."""
STIMULUS = "poisson"


def golden_trace(program: Program, steps: int | None, seed: int) -> tuple[Trace, GoldenRecord] | None:
    """Record a golden trace. ``steps=None`` records as many steps as fit into the budget. Returns None for ``steps=0``.

    Raises InvalidInput for a negative number of steps.
    """
    if steps is not None and steps < 0:
        raise InvalidInput(f"golden_steps={steps}: expected at least 0")
    if steps == 0:
        return None
    length = golden_steps_that_fit(program) if steps is None else steps
    stimulus = from_pattern(STIMULUS, Request(program, length, GOLDEN_BATCH, seed))
    trace = record(program, stimulus.inputs, stimulus.start)
    return trace, GoldenRecord(stimulus=stimulus.name, steps=length, batch=GOLDEN_BATCH, seed=seed)


def golden_steps_that_fit(program: Program) -> int:
    """The number of steps that fit into the budget, between ``FEWEST_STEPS`` and ``GOLDEN_STEPS``."""
    bytes_per_step = sum(
        int(np.prod(spec.shape(batch=GOLDEN_BATCH))) * np.dtype(spec.dtype).itemsize for spec in program.contract.tensors
    )
    parameters = sum(buffer.numel() * buffer.element_size() for buffer in program.state_dict().values())
    return max(FEWEST_STEPS, min(GOLDEN_STEPS, int(BUDGET + parameters) // bytes_per_step))
