"""NIR (Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9): graphs that norse, snnTorch and others write."""

from pathlib import Path
from typing import Any

from deploy_snn.importers.imported import Imported
from deploy_snn.importers.importer import Importer
from deploy_snn.importers.nir.files import read_nir, write_nir

__all__ = ["Nir", "read_nir", "write_nir"]

HDF5 = b"\x89HDF\r\n\x1a\n"


class Nir(Importer):
    """NIR graphs, which are HDF5 files."""

    def recognises(self, path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(len(HDF5)) == HDF5

    def read(self, path: Path, options: dict[str, Any]) -> Imported:
        return read_nir(path, options)
