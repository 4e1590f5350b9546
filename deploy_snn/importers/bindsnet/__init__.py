"""BindsNET: a live ``Network``, or a file of ``Network.save``."""

from pathlib import Path
from typing import Any

from deploy_snn.importers.bindsnet.network import from_bindsnet, read_bindsnet
from deploy_snn.importers.bindsnet.torch_file import is_torch_file
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.importer import Importer

__all__ = ["BindsNet", "from_bindsnet", "read_bindsnet"]


class BindsNet(Importer):
    """Files of ``Network.save``, and all other files of ``torch.save``."""

    def recognises(self, path: Path) -> bool:
        return is_torch_file(path)

    def read(self, path: Path, options: dict[str, Any]) -> Imported:
        return read_bindsnet(path, options)
