"""TorchScript: the program as a script module with ``forward``, ``initial_state`` and ``rollout``, for C++ hosts."""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from deploy_snn.contract import CONTRACT_FILE
from deploy_snn.program import Program


@contextmanager
def torchscript_on_purpose() -> Iterator[None]:
    """Silence exactly torch's notice that TorchScript is deprecated: C++ hosts load it today, and .pt2 stands beside it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        yield


def write_torchscript(program: Program, path: Path) -> None:
    """Write ``model.pt``. The contract travels inside, as an extra file."""
    with torchscript_on_purpose():
        script = torch.jit.script(program.eval())
        torch.jit.save(script, path, _extra_files={CONTRACT_FILE: program.contract.model_dump_json()})
    _forget_origins(path)


def _forget_origins(path: Path) -> None:
    """Leave out the debug entries: the source text again, with the paths of this machine. No loader needs them."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.infolist() if not entry.filename.endswith(".debug_pkl")}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(zipfile.ZipInfo(entry.filename), data)  # stored, as torch does, and with no date
