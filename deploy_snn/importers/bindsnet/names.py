"""The classes of BindsNET that a file of ``Network.save`` may hold, by module."""

from deploy_snn.importers.bindsnet.restricted_pickle import Maker
from deploy_snn.importers.bindsnet.saved import Name, Saved

NETWORKS = {
    Name("bindsnet.network.network", "Network"),
    *(
        Name("bindsnet.models.models", name)
        for name in (
            "TwoLayerNetwork",
            "DiehlAndCook2015",
            "DiehlAndCook2015v2",
            "IncreasingInhibitionNetwork",
            "LocallyConnectedNetwork",
        )
    ),
}

_PARTS = {
    "bindsnet.network.nodes": """
        Input McCullochPitts IFNodes LIFNodes BoostedLIFNodes CurrentLIFNodes AdaptiveLIFNodes DiehlAndCookNodes
        IzhikevichNodes CSRMNodes SRM0Nodes""",
    "bindsnet.conversion.nodes": "SubtractiveResetIFNodes PassThroughNodes",
    "bindsnet.conversion.conversion": "SubtractiveResetIFNodes PassThroughNodes PermuteConnection ConstantPad2dConnection",
    "bindsnet.network.topology": """
        Connection SparseConnection MulticompartmentConnection Conv1dConnection Conv2dConnection Conv3dConnection
        MaxPool1dConnection MaxPool2dConnection MaxPoo3dConnection MaxPool3dConnection LocalConnection LocalConnection1D
        LocalConnection2D LocalConnection3D MeanFieldConnection""",
    "bindsnet.conversion.topology": "PermuteConnection ConstantPad2dConnection",
    "bindsnet.network.topology_features": """
        Weight Mask Bias Intensity Probability Degradation MeanField AdaptationBaseSynapsHistory AdaptationBaseOtherSynaps
        Normalization Updating""",
    "bindsnet.network.monitors": "Monitor NetworkMonitor",
    "bindsnet.learning.learning": """
        NoOp PostPre WeightDependentPostPre Hebbian DiehlAndCook MSTDP MSTDPET Rmax""",
    "bindsnet.learning.MCC_learning": "NoOp PostPre Hebbian DiehlAndCook MSTDP MSTDPET",
    "bindsnet.learning.reward": "MovingAvgRPE",
}


def _record(name: Name) -> Maker:
    return lambda: Saved(name)


CLASSES: dict[Name, Maker] = {
    name: _record(name)
    for name in (*NETWORKS, *(Name(module, name) for module, names in _PARTS.items() for name in names.split()))
}
"""Each becomes a record of its attributes; none of them is imported."""
