"""torch.export: the program as an ExportedProgram, saved as ``.pt2``, and the starting point of the ONNX export."""

import warnings
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from deploy_snn.contract import BATCH, CONTRACT_FILE, TensorSpec
from deploy_snn.program import Program


def capture(program: Program) -> ExportedProgram:
    """Capture one step, with a batch of any size: ``outputs, next_state = captured.module()(inputs, state)``."""
    contract = program.contract
    batch = Dim("batch", min=1)

    def example(spec: TensorSpec) -> torch.Tensor:
        return torch.zeros(spec.shape(batch=2), dtype=getattr(torch, spec.dtype))

    def dynamic(spec: TensorSpec) -> dict[int, Dim]:
        return {i: batch for i, axis in enumerate(spec.axes) if axis == BATCH}

    roles = (contract.inputs, contract.states)
    with torch.no_grad(), warnings.catch_warnings():
        # torch.export copies its own tree specs, and warns itself for it.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
        return torch.export.export(
            program.eval(),
            tuple({spec.name: example(spec) for spec in specs} for specs in roles),
            dynamic_shapes=tuple({spec.name: dynamic(spec) for spec in specs} for specs in roles),
            strict=False,
        )


def write_pt2(program: Program, path: Path) -> None:
    """Write ``model.pt2``. The contract travels inside, as an extra file."""
    torch.export.save(capture(program), path, extra_files={CONTRACT_FILE: program.contract.model_dump_json()})
