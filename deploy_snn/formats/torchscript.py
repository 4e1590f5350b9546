"""TorchScript: the program as a script module with ``forward``, ``initial_state`` and ``rollout``, for C++ hosts."""

import warnings
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
