"""Take spiking neural networks out of research code and into production runtimes.

``export`` writes a neuron or a network as a bundle, ``open_bundle`` opens it, ``bundle.session`` runs it, and ``verify``
checks that every runtime computes the same spikes. Each of them imports only what it needs: an opened bundle runs without
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from deploy_snn.api import export, load_model
    from deploy_snn.bundle import Bundle, open_bundle
    from deploy_snn.errors import InvalidInput, Unavailable
    from deploy_snn.parity import verify

__all__ = ["Bundle", "InvalidInput", "Unavailable", "__version__", "export", "load_model", "open_bundle", "verify"]

_MODULES = {
    "Bundle": "deploy_snn.bundle",
    "InvalidInput": "deploy_snn.errors",
    "Unavailable": "deploy_snn.errors",
    "export": "deploy_snn.api",
    "load_model": "deploy_snn.api",
    "open_bundle": "deploy_snn.bundle",
    "verify": "deploy_snn.parity",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'deploy_snn' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
