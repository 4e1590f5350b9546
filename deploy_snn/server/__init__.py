"""Bundles behind the Open Inference Protocol: every client has its own stream, its state kept between requests."""

from deploy_snn.server.body import Bounds
from deploy_snn.server.listen import listen
from deploy_snn.server.log import configure_log
from deploy_snn.server.model import Limits
from deploy_snn.server.repository import Settings

__all__ = ["Bounds", "Limits", "Settings", "configure_log", "listen"]
