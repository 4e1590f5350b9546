"""The importers by the ending of the files they read: another framework is a new file and one line here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy_snn.importers.bindsnet import read_bindsnet
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.nir import read_nir

Importer = Callable[[Path, dict[str, Any]], Imported]

IMPORTERS: dict[str, Importer] = {
    ".pt": read_bindsnet,
    ".pth": read_bindsnet,
    ".nir": read_nir,
}
