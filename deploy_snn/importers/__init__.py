"""Importing models: a Python definition, a file or a live module of another framework, as a deploy_snn program."""

from deploy_snn.importers.bindsnet import from_bindsnet
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.importer import Importer
from deploy_snn.importers.load import Loaded, load_model, load_module
from deploy_snn.importers.nir import write_nir
from deploy_snn.importers.write_definition import Definition, define

__all__ = [
    "Definition",
    "Imported",
    "Importer",
    "Loaded",
    "define",
    "from_bindsnet",
    "load_model",
    "load_module",
    "write_nir",
]
