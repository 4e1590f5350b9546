"""ONNX: one step of the program as a graph that holds the neurons' equations and nothing else."""

import logging
import warnings
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import Sequential, common
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from deploy_snn import __version__
from deploy_snn.contract import BATCH, CONTRACT_KEY, NEXT, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.pt2 import capture
from deploy_snn.program import Program

DEFAULT_OPSET = 20
OPSETS = range(18, 26)
IR_VERSIONS = range(8, 14)

FOLD_LIMIT = 2**40
"""Fold constants of any size: what depends on parameters alone is computed once, here."""


def write_onnx(program: Program, path: Path, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> None:
    """Write ``step.onnx``: inputs and states in, outputs and ``next.`` states out, in the contract's order.

    Raises InvalidInput for an opset or IR version that cannot be written.
    """
    onnx.save(step_graph(program, opset, ir_version), path)


def step_graph(program: Program, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> onnx.ModelProto:
    """The step as a checked ONNX model. The contract travels in its metadata."""
    if opset not in OPSETS:
        raise InvalidInput(f"opset {opset} cannot be written; --opset takes {OPSETS[0]} to {OPSETS[-1]}")
    if ir_version is not None and ir_version not in IR_VERSIONS:
        raise InvalidInput(
            f"IR version {ir_version} cannot be written; --ir-version takes {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        )
    model = _convert(capture(program), program, opset)
    _minimise(model)
    _describe(model, program)
    if ir_version is not None:
        model.ir_version = ir_version
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _convert(captured: ExportedProgram, program: Program, opset: int) -> ir.Model:
    contract = program.contract
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it would tell that torchvision, which nothing here uses, is not installed
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
            exported = torch.onnx.export(
                captured,
                dynamo=True,
                opset_version=opset,
                optimize=False,
                verbose=False,
                input_names=[spec.name for spec in (*contract.inputs, *contract.states)],
                output_names=_output_names(captured),
            )
    finally:
        exporter.setLevel(level)
    assert exported is not None
    return exported.model


def _output_names(captured: ExportedProgram) -> list[str]:
    """The graph's output names in the order in which the program's two dictionaries hold them."""
    spec = captured.call_spec.out_spec
    assert spec is not None
    outputs, states = pytree.tree_unflatten(range(spec.num_leaves), spec)
    names = {place: name for name, place in outputs.items()} | {place: NEXT + name for name, place in states.items()}
    return [names[place] for place in range(len(names))]


def _minimise(model: ir.Model) -> None:
    for node in list(model.graph):
        # A recorded state leaves twice, under two names, which only an Identity can do; all others go.
        if node.op_type == "Identity" and not node.outputs[0].is_graph_output():
            source = node.inputs[0]
            assert source is not None
            node.outputs[0].replace_all_uses_with(source)
            model.graph.remove(node, safe=True)
    fold_constants(model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    Sequential(
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )(model)


def _describe(model: ir.Model, program: Program) -> None:
    """Give names, dynamic axes and metadata as the contract has them."""
    contract = program.contract
    values = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    ends = [(spec, spec.name) for spec in (*contract.inputs, *contract.states, *contract.outputs)]
    ends += [(spec, spec.next_name) for spec in contract.states]
    for spec, name in ends:
        values[name].shape = _shape(spec)
    model.graph.outputs[:] = [values[s.name] for s in contract.outputs] + [values[s.next_name] for s in contract.states]
    for node in model.graph:
        for value in node.outputs:
            if value.name not in values:
                value.shape = None  # of use to nobody, and they name the batch axis as the exporter pleased
    model.graph.name = "step"
    model.producer_name, model.producer_version = "deploy_snn", __version__
    model.metadata_props[CONTRACT_KEY] = contract.model_dump_json()


def _shape(spec: TensorSpec) -> ir.Shape:
    return ir.Shape([axis.name if axis == BATCH else axis.size for axis in spec.axes])
