"""Networks of other frameworks: a file, or a live object, read into a network of ours."""

from deploy_snn.importers.bindsnet import from_bindsnet
from deploy_snn.importers.definition import Definition, define
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.nir import write_nir
from deploy_snn.importers.registry import IMPORTERS

__all__ = ["IMPORTERS", "Definition", "Imported", "define", "from_bindsnet", "write_nir"]
