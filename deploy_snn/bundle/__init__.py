"""Reading a bundle: its manifest, its tensors, its golden trace. Needs numpy, and neither torch nor onnx."""

from deploy_snn.bundle.bundle import Bundle, open_bundle
from deploy_snn.bundle.manifest import FileRecord, GoldenRecord, Manifest, ParameterRecord, Snapped, Source
from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.bundle.trace import Trace, at

__all__ = [
    "Bundle",
    "FileRecord",
    "GoldenRecord",
    "Manifest",
    "ParameterRecord",
    "Readout",
    "Snapped",
    "Source",
    "Trace",
    "at",
    "open_bundle",
    "vote",
]
