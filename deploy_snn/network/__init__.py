"""Networks: named layers and connections between them, as one program with the same contract as a single neuron.

A class in the registry can be imported from here; those that are written out are known to type checkers too.
"""

from typing import TYPE_CHECKING, Any

from deploy_snn.network.connection import Connection, Dense, Lateral, MeanField, OneToOne, PlasticConnection, Reshape
from deploy_snn.network.convolution import Conv1d, Conv2d, Conv3d
from deploy_snn.network.grid import SnappedWeights, is_exact, snap_weights
from deploy_snn.network.local import LocalConnection1d, LocalConnection2d, LocalConnection3d
from deploy_snn.network.network import Network
from deploy_snn.network.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from deploy_snn.network.rebuild import rebuild_program, restore_parameters, structure_of
from deploy_snn.network.sparse import Sparse
from deploy_snn.network.stochastic import StochasticDense
from deploy_snn.network.sum_pooling import AvgPool2d, SumPool2d
from deploy_snn.registry import CONNECTIONS

__all__ = [
    "AvgPool2d",
    "Connection",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Dense",
    "Lateral",
    "LocalConnection1d",
    "LocalConnection2d",
    "LocalConnection3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MeanField",
    "Network",
    "OneToOne",
    "PlasticConnection",
    "Reshape",
    "SnappedWeights",
    "Sparse",
    "StochasticDense",
    "SumPool2d",
    "is_exact",
    "rebuild_program",
    "restore_parameters",
    "snap_weights",
    "structure_of",
]


def _registered(name: str) -> Any:
    """A class that only the registry names."""
    found = CONNECTIONS.by_attribute(name)
    if found is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return found


if not TYPE_CHECKING:  # type checkers are to see the names above only
    __getattr__ = _registered
