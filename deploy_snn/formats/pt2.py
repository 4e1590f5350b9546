"""torch.export: one step and a whole run, saved as ``.pt2`` files."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered

STEP = "model.pt2"
SEQUENCE = "sequence.pt2"
NORMALISE = "normalise.pt2"
"""Written for a network with weights that are normalised."""


class Pt2(Format):
    """torch.export programs. Options: none."""

    files: ClassVar[dict[str, str]] = {STEP: "torch.export program of one step", SEQUENCE: "torch.export program of a run"}

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        _save(lowered.step, lowered.contract, folder / STEP)
        _save(lowered.sequence, lowered.contract, folder / SEQUENCE)
        if lowered.normalise is not None:
            _save(lowered.normalise, lowered.contract, folder / NORMALISE)
        return {}


def _save(captured: ExportedProgram, contract: Contract, path: Path) -> None:
    torch.export.save(captured, path, extra_files={CONTRACT_FILE: contract.model_dump_json()})
