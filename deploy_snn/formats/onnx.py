"""ONNX: a graph of one step and a graph of a whole run, which contain only the equations of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
from onnx_ir.passes import Sequential, common
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram

from deploy_snn import __version__
from deploy_snn.contract import CONTRACT_KEY, NEXT, Contract, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.format import Format
from deploy_snn.formats.spiking_columns import compute_spiking_columns
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import export_to_onnx_ir, output_places

STEP = "step.onnx"
SEQUENCE = "sequence.onnx"
NORMALISE = "normalise.onnx"
"""Written for a network with weights that are normalised."""

OPSETS = range(18, 26)
IR_VERSIONS = range(8, 14)

FOLD_LIMIT = 2**40
"""Fold constants of any size, so that everything that depends only on parameters is computed at export."""

PROGRAM = "program."
"""The prefix of parameter names in a captured graph. In ONNX they have their state_dict names, without this prefix."""


@dataclass(frozen=True)
class Onnx(Format):
    """ONNX graphs from inputs and states to outputs and ``next.`` states, in the order of the contract.

    Args:
        opset: the ONNX opset, 18 to 25. ir_version: the IR version, 8 to 13; None for the exporter's default.

    Raises InvalidInput for unsupported versions.
    """

    opset: int = 20
    ir_version: int | None = None

    files: ClassVar[dict[str, str]] = {
        STEP: "ONNX graph of one step, batch dynamic",
        SEQUENCE: "ONNX graph of a run, time and batch dynamic",
    }

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise InvalidInput(f"opset={self.opset}: expected {OPSETS[0]} to {OPSETS[-1]}")
        if self.ir_version is not None and self.ir_version not in IR_VERSIONS:
            raise InvalidInput(f"ir_version={self.ir_version}: expected {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}")

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        step = self.step_graph(lowered)
        onnx.save(step, folder / STEP)
        onnx.save(self.sequence_graph(lowered), folder / SEQUENCE)
        normalise = self.normalise_graph(lowered)
        if normalise is not None:
            onnx.save(normalise, folder / NORMALISE)
        return {"opset": self.opset, "ir_version": step.ir_version}

    def step_graph(self, lowered: Lowered) -> onnx.ModelProto:
        """One step as a checked ONNX model, with the contract in its metadata."""
        contract = lowered.contract
        return self._graph("step", lowered.step, contract, contract.inputs, contract.outputs, contract.states)

    def sequence_graph(self, lowered: Lowered) -> onnx.ModelProto:
        """A run over a sequence of any length as a checked ONNX model. Only the stateful parts are inside Scan nodes."""
        contract = lowered.contract
        inputs, outputs = ([spec.in_time() for spec in specs] for specs in (contract.inputs, contract.outputs))
        return self._graph("sequence", lowered.sequence, contract, inputs, outputs, contract.states)

    def normalise_graph(self, lowered: Lowered) -> onnx.ModelProto | None:
        """The normalisation of the weights, from ``w`` to ``next.w``; None for a program that has none."""
        captured = lowered.normalise
        if captured is None:
            return None
        return self._graph("normalise", captured, lowered.contract, [], [], lowered.contract.weights)

    def _graph(  # noqa: PLR0917
        self,
        name: str,
        captured: ExportedProgram,
        contract: Contract,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        states: Sequence[TensorSpec],
    ) -> onnx.ModelProto:
        names = [spec.name for spec in (*inputs, *states)]
        model = export_to_onnx_ir(captured, self.opset, names, _output_names(captured))
        _minimise(model, event_driven=name == "sequence")
        _describe(model, inputs, outputs, states)
        for value in list(model.graph.initializers.values()):
            value.name = (value.name or "").removeprefix(PROGRAM)
        model.graph.name = name
        model.producer_name, model.producer_version = "deploy_snn", __version__
        model.metadata_props[CONTRACT_KEY] = contract.model_dump_json()
        if self.ir_version is not None:
            model.ir_version = self.ir_version
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        return proto


def _output_names(captured: ExportedProgram) -> list[str]:
    """The graph's output names, in the order of its outputs."""
    outputs, states = output_places(captured)
    names = {place: name for name, place in outputs.items()} | {place: NEXT + name for name, place in states.items()}
    return [names[place] for place in range(len(names))]


def _minimise(model: ir.Model, *, event_driven: bool) -> None:
    """Remove needless nodes. ``event_driven`` adds shapes that depend on data, which a CUDA graph of a step cannot have."""
    fold_constants(model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    for graph in model.graphs():
        for node in list(graph):
            # A recorded state is an output under two names, which needs an Identity. All other Identities are removed.
            if node.op_type == "Identity" and not node.outputs[0].is_graph_output():
                source = node.inputs[0]
                assert source is not None
                node.outputs[0].replace_all_uses_with(source)
                graph.remove(node, safe=True)
    if event_driven:
        compute_spiking_columns(model)
    Sequential(
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )(model)


def _describe(
    model: ir.Model, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], states: Sequence[TensorSpec]
) -> None:
    """Set the shapes of inputs and outputs, and the order of outputs, as in the contract."""
    specs = {spec.name: spec for spec in (*inputs, *outputs, *states)}
    specs |= {spec.next_name: spec for spec in states}
    values = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    for name, spec in specs.items():
        values[name].shape = ir.Shape([axis.name if axis.size is None else axis.size for axis in spec.axes])
    model.graph.outputs[:] = [values[s.name] for s in outputs] + [values[s.next_name] for s in states]
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None  # unused, and with other names for the dynamic axes
