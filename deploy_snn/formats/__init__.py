"""What a program is written to: one file per format, and the bundle that holds them together."""

from deploy_snn.formats.bundle import Bundle, write_bundle
from deploy_snn.formats.formats import FORMATS, PORTABLE, WriteOptions
from deploy_snn.formats.manifest import GoldenRecord, Manifest

__all__ = ["FORMATS", "PORTABLE", "Bundle", "GoldenRecord", "Manifest", "WriteOptions", "write_bundle"]
