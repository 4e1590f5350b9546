"""What can step a bundle: one small interface, one file per runtime."""

from deploy_snn.runtimes.registry import RUNTIMES, find_runtime, usable_runtimes
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.runtimes.torch_program import Eager

__all__ = ["RUNTIMES", "Eager", "Runtime", "find_runtime", "usable_runtimes"]
