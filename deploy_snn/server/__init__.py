"""An inference server for bundles, over the Open Inference Protocol: each client has a stream with a state of its own."""

from deploy_snn.server.body import BodyLimits
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.limits import Limits
from deploy_snn.server.listen import listen
from deploy_snn.server.log import configure_log
from deploy_snn.server.repository import Settings

__all__ = ["BodyLimits", "Checkpoint", "Limits", "Settings", "configure_log", "listen"]
