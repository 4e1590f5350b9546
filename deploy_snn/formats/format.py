"""What every format is: a class with its options as fields, that writes files from a lowered program."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.lowering import Lowered


class Format(ABC):
    """Writes a program to one or more files of a bundle.

    A format's options are the keywords of its constructor, checked there. The contract travels inside each model file.
    """

    files: ClassVar[dict[str, str]]
    """The files that it writes, each with one line about it."""

    @abstractmethod
    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        """Write the files into a folder, and return the format's section of the manifest.

        Raises Unavailable where a tool that it needs is missing.
        """
