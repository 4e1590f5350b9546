"""The runtimes that can run a bundle, one file per runtime. A runtime is imported when it is used."""

from deploy_snn.runtimes.find import fastest_runtime, find_runtime, unavailable_reason, usable_runtimes
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.runtimes.session import Session

__all__ = ["Runtime", "Session", "fastest_runtime", "find_runtime", "unavailable_reason", "usable_runtimes"]
