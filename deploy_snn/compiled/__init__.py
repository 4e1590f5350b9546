"""Compile a captured step to C: from the graph to typed loops, and from loops to readable C99."""

from deploy_snn.compiled.refusal import Refusal
from deploy_snn.compiled.source import CSource, c_source

__all__ = ["CSource", "Refusal", "c_source"]
