"""The base class of importers, which recognise files by their content and read them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from deploy_snn.importers.imported import Imported


class Importer(ABC):
    """Reads the files of one framework."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether the content of an existing file is of this importer's format, even if it is damaged."""

    @abstractmethod
    def read(self, path: Path, options: dict[str, Any]) -> Imported:
        """Read a file as a network. Raises InvalidInput for what cannot be read, and for unknown options."""
