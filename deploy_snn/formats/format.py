"""The base class of all formats. A format writes files from a lowered program; its options are fields."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.lowering import Lowered


class Format(ABC):
    """Writes a program to one or more files of a bundle.

    The options of a format are keywords of its constructor, which checks them. Each model file contains the contract.
    """

    files: ClassVar[dict[str, str]]
    """The files that it writes, each with a one-line description."""

    @abstractmethod
    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        """Write the files into a folder and return the format's section of the manifest.

        Raises Unavailable if a required tool is missing.
        """
