"""Proving that every runtime computes the same spikes: stimulus, lockstep comparison, report."""

from deploy_snn.parity.lockstep import Lockstep
from deploy_snn.parity.prove import STIMULI, Plan, make_stimulus, prove, reference_run
from deploy_snn.parity.report import ModelReport, ParityReport, RunReport, Tolerance
from deploy_snn.parity.stimulus import Request, Stimulus

__all__ = [
    "STIMULI",
    "Lockstep",
    "ModelReport",
    "ParityReport",
    "Plan",
    "Request",
    "RunReport",
    "Stimulus",
    "Tolerance",
    "make_stimulus",
    "prove",
    "reference_run",
]
