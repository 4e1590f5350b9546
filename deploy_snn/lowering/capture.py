"""Capture a program with torch.export: one step, and a whole sequence."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from deploy_snn.contract import BATCH, TIME, Axis, Contract, TensorSpec
from deploy_snn.program import Program
from deploy_snn.torch_internals import drop_unused_scan_inputs, silence_leaf_spec_warning

ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""The node metadata about its origin. It contains paths of this machine, and would make up most of a saved file."""

Tensors = dict[str, Tensor]


class OrderedProgram(nn.Module):
    """A program whose results are in the order of the contract, because compiled code identifies them by position."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.contract: Contract = program.contract

    def ordered(self, outputs: Tensors, after: Tensors) -> tuple[Tensors, Tensors]:
        return (
            {spec.name: outputs[spec.name] for spec in self.contract.outputs},
            {spec.name: after[spec.name] for spec in self.contract.states},
        )


class StepModule(OrderedProgram):
    """``outputs, next_state = step(inputs, state)``."""

    def forward(self, inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        return self.ordered(*self.program(inputs, state))


class SequenceModule(OrderedProgram):
    """``outputs, last_state = sequence(inputs, state)``, with a leading time axis on inputs and outputs."""

    def forward(self, inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        return self.ordered(*self.program.over_time(inputs, state))


def capture_step(program: Program, max_batch: int | None = None) -> ExportedProgram:
    """Capture one step: ``outputs, next_state = captured.module()(inputs, state)``.

    ``max_batch`` bounds the batch, at 2 or more; None for a batch of any size.
    """
    contract = program.contract
    return _capture(StepModule(program), contract.inputs, contract.states, {BATCH: Dim("batch", min=1, max=max_batch)})


def capture_sequence(program: Program, batch: int | None = None, max_steps: int | None = None) -> ExportedProgram:
    """Capture a run over a sequence: inputs and outputs have a leading time axis.

    ``batch`` fixes the batch; None for a batch of any size. ``max_steps`` bounds the time, at 3 or more; None for any time.
    """
    contract = program.contract
    inputs = [spec.in_time() for spec in contract.inputs]
    open_axes = {TIME: Dim("time", min=1, max=max_steps)} | ({BATCH: Dim("batch", min=1)} if batch is None else {})
    return _capture(SequenceModule(program), inputs, contract.states, open_axes, batch=batch or 2)


class NormaliseModule(nn.Module):
    """``{}, weights = normalise({}, weights)``, over all weights that learn."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, inputs: Tensors, weights: Tensors) -> tuple[Tensors, Tensors]:
        scaled = self.program.normalise(weights)
        return inputs, {name: scaled[name] if name in scaled else w.clone() for name, w in weights.items()}


def capture_normalise(program: Program) -> ExportedProgram | None:
    """Capture the normalisation of the weights; None for a program that has none."""
    if not program.normalise(program.initial_state(1)):
        return None
    return _capture(NormaliseModule(program), (), program.contract.weights, {})


def _capture(
    module: nn.Module,
    inputs: Iterable[TensorSpec],
    states: Iterable[TensorSpec],
    open_axes: Mapping[Axis, Dim],
    batch: int = 2,
) -> ExportedProgram:
    """Capture a module on an example of ``batch`` rows and three steps, with any size for the open axes."""

    def example(spec: TensorSpec) -> Tensor:
        return torch.zeros(spec.shape(batch=batch, time=3), dtype=getattr(torch, spec.dtype))

    def dynamic(spec: TensorSpec) -> dict[int, Dim]:
        return {index: open_axes[axis] for index, axis in enumerate(spec.axes) if axis in open_axes}

    roles = (tuple(inputs), tuple(states))
    with torch.no_grad(), silence_leaf_spec_warning():
        captured = torch.export.export(
            module.eval(),
            tuple({spec.name: example(spec) for spec in specs} for specs in roles),
            dynamic_shapes=tuple({spec.name: dynamic(spec) for spec in specs} for specs in roles),
            strict=False,
        )
    drop_unused_scan_inputs(captured)
    for graph in captured.graph_module.modules():
        if isinstance(graph, GraphModule):
            for node in graph.graph.nodes:
                for origin in ORIGINS:
                    node.meta.pop(origin, None)
    return captured
