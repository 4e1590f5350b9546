"""Compare every runtime with eager torch: stimuli, lockstep comparison, report."""

from deploy_snn.parity.comparison import Plan, compare_runtimes, make_stimulus, verify
from deploy_snn.parity.golden import GOLDEN_BATCH, GOLDEN_STEPS, golden_steps_that_fit, golden_trace
from deploy_snn.parity.lockstep import Lockstep
from deploy_snn.parity.recording import Recording, record_reference
from deploy_snn.parity.report import ModelReport, ParityReport, RunReport, Tolerance
from deploy_snn.parity.stimulus import Request, Stimulus

__all__ = [
    "GOLDEN_BATCH",
    "GOLDEN_STEPS",
    "Lockstep",
    "ModelReport",
    "ParityReport",
    "Plan",
    "Recording",
    "Request",
    "RunReport",
    "Stimulus",
    "Tolerance",
    "compare_runtimes",
    "golden_steps_that_fit",
    "golden_trace",
    "make_stimulus",
    "record_reference",
    "verify",
]
