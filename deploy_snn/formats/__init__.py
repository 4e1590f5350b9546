"""The file formats of a bundle, one file per format, and the writer of bundles."""

from deploy_snn.formats.format import Format
from deploy_snn.formats.writer import PORTABLE, find_formats, write_bundle

__all__ = ["PORTABLE", "Format", "find_formats", "write_bundle"]
