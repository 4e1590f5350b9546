"""Networks: named layers and the connections between them, as one program with a contract, like a single neuron."""

from deploy_snn.network.connection import Connection, Dense, Lateral, MeanField, OneToOne, Reshape
from deploy_snn.network.convolution import Conv1d, Conv2d, Conv3d
from deploy_snn.network.grid import SnappedWeights, is_exact, snap_weights
from deploy_snn.network.local import LocalConnection1d, LocalConnection2d, LocalConnection3d
from deploy_snn.network.network import Network
from deploy_snn.network.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from deploy_snn.network.rebuild import rebuild_program, restore_parameters, structure_of
from deploy_snn.network.sparse import Sparse
from deploy_snn.network.stochastic import StochasticDense
from deploy_snn.network.sum_pooling import AvgPool2d, SumPool2d

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
