"""TorchScript: a script module with ``forward``, ``initial_state`` and ``rollout``, for C++ hosts."""

import zipfile
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.contract import CONTRACT_FILE
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import save_script

MODEL = "model.pt"


class TorchScript(Format):
    """TorchScript. Options: none."""

    files: ClassVar[dict[str, str]] = {MODEL: "TorchScript with forward, initial_state and rollout"}

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        save_script(lowered.scripted, folder / MODEL, {CONTRACT_FILE: lowered.contract.model_dump_json()})
        drop_debug_entries(folder / MODEL)
        return {}


def drop_debug_entries(path: Path) -> None:
    """Remove the debug entries. They repeat the source text, contain paths of this machine, and no loader needs them."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.infolist() if not entry.filename.endswith(".debug_pkl")}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(zipfile.ZipInfo(entry.filename), data)  # uncompressed, as torch writes it, and without a date
