"""torch.export: one step or a whole run as an ExportedProgram, saved as ``.pt2``, and where the ONNX export starts."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from deploy_snn.contract import BATCH, CONTRACT_FILE, TIME, TensorSpec
from deploy_snn.program import Program

ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""What the exporter notes of a node's origin: the paths of this machine, and most of the file."""


@contextmanager
def tree_specs_on_purpose() -> Iterator[None]:
    """Silence exactly torch's notice that LeafSpec is deprecated: torch.export copies its own, and warns itself for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
        yield


class Sequence(nn.Module):
    """``outputs, last_state = sequence(inputs, state)``, with a leading time axis on inputs and outputs."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.program.over_time(inputs, state)


def capture_step(program: Program) -> ExportedProgram:
    """Capture one step, with a batch of any size: ``outputs, next_state = captured.module()(inputs, state)``."""
    contract = program.contract
    return capture(program, contract.inputs, contract.states)


def capture_sequence(program: Program) -> ExportedProgram:
    """Capture a run over a sequence of any length: inputs and outputs have a leading time axis."""
    contract = program.contract
    return capture(Sequence(program), [spec.in_time() for spec in contract.inputs], contract.states)


def capture(module: nn.Module, inputs: Iterable[TensorSpec], states: Iterable[TensorSpec]) -> ExportedProgram:
    """Capture a module of two dictionaries, inputs and state, whose tensors have these records."""
    open_axes = {BATCH: Dim("batch", min=1), TIME: Dim("time", min=1)}

    def example(spec: TensorSpec) -> Tensor:
        return torch.zeros(spec.shape(batch=2, time=3), dtype=getattr(torch, spec.dtype))

    def dynamic(spec: TensorSpec) -> dict[int, Dim]:
        return {place: open_axes[axis] for place, axis in enumerate(spec.axes) if axis in open_axes}

    roles = (tuple(inputs), tuple(states))
    with torch.no_grad(), tree_specs_on_purpose():
        return torch.export.export(
            module.eval(),
            tuple({spec.name: example(spec) for spec in specs} for specs in roles),
            dynamic_shapes=tuple({spec.name: dynamic(spec) for spec in specs} for specs in roles),
            strict=False,
        )


def write_step(program: Program, path: Path) -> None:
    """Write ``model.pt2``, one step. The contract travels inside, as an extra file."""
    _write(capture_step(program), program, path)


def write_sequence(program: Program, path: Path) -> None:
    """Write ``sequence.pt2``, a whole run. The contract travels inside, as an extra file."""
    _write(capture_sequence(program), program, path)


def _write(captured: ExportedProgram, program: Program, path: Path) -> None:
    for graph in captured.graph_module.modules():
        if isinstance(graph, GraphModule):
            for node in graph.graph.nodes:
                for origin in ORIGINS:
                    node.meta.pop(origin, None)
    torch.export.save(captured, path, extra_files={CONTRACT_FILE: program.contract.model_dump_json()})
