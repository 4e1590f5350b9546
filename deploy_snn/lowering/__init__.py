"""From a program to captured graphs: a step, a sequence, a script. Each is captured once, for all formats."""

from deploy_snn.lowering.lowered import Lowered

__all__ = ["Lowered"]
