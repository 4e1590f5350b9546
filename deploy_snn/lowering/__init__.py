"""Capture a program as graphs: a step, a sequence, a TorchScript module. Each is captured once, for all formats."""

from deploy_snn.lowering.lowered import Lowered

__all__ = ["Lowered"]
