"""ONNX: one step, or a whole run, as a graph that holds the neurons' equations and nothing else."""

import logging
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import Sequential, common
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from deploy_snn import __version__
from deploy_snn.contract import CONTRACT_KEY, NEXT, Contract
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.pt2 import capture_sequence, capture_step, tree_specs_on_purpose
from deploy_snn.program import Program

DEFAULT_OPSET = 20
OPSETS = range(18, 26)
IR_VERSIONS = range(8, 14)

FOLD_LIMIT = 2**40
"""Fold constants of any size: what depends on parameters alone is computed once, here."""


def write_step(program: Program, path: Path, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> None:
    """Write ``step.onnx``: inputs and states in, outputs and ``next.`` states out, in the contract's order.

    Raises InvalidInput for an opset or IR version that cannot be written.
    """
    onnx.save(step_graph(program, opset, ir_version), path)


def write_sequence(program: Program, path: Path, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> None:
    """Write ``sequence.onnx``: the same names as a step's, with a leading time axis on inputs and outputs."""
    onnx.save(sequence_graph(program, opset, ir_version), path)


def step_graph(program: Program, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> onnx.ModelProto:
    """One step as a checked ONNX model. The contract travels in its metadata."""
    check_versions(opset, ir_version)
    return _graph("step", capture_step(program), program.contract, opset, ir_version)


def sequence_graph(program: Program, opset: int = DEFAULT_OPSET, ir_version: int | None = None) -> onnx.ModelProto:
    """A run over a sequence of any length as a checked ONNX model: what needs a state in Scans, and the rest outside."""
    check_versions(opset, ir_version)
    return _graph("sequence", capture_sequence(program), program.contract, opset, ir_version)


def check_versions(opset: int, ir_version: int | None) -> None:
    """Raise InvalidInput for an opset or an IR version that cannot be written."""
    if opset not in OPSETS:
        raise InvalidInput(f"opset {opset} cannot be written; --opset takes {OPSETS[0]} to {OPSETS[-1]}")
    if ir_version is not None and ir_version not in IR_VERSIONS:
        span = f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise InvalidInput(f"IR version {ir_version} cannot be written; --ir-version takes {span}")


def _graph(name: str, captured: ExportedProgram, contract: Contract, opset: int, ir_version: int | None) -> onnx.ModelProto:
    model = _convert(captured, contract, opset)
    _minimise(model)
    _describe(model, contract, in_time=name == "sequence")
    for value in list(model.graph.initializers.values()):
        value.name = (value.name or "").removeprefix("program.")  # by its state_dict name, in both graphs
    model.graph.name = name
    model.producer_name, model.producer_version = "deploy_snn", __version__
    model.metadata_props[CONTRACT_KEY] = contract.model_dump_json()
    if ir_version is not None:
        model.ir_version = ir_version
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _convert(captured: ExportedProgram, contract: Contract, opset: int) -> ir.Model:
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it would tell that torchvision, which nothing here uses, is not installed
    try:
        with tree_specs_on_purpose():
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
    fold_constants(model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    for graph in model.graphs():
        for node in list(graph):
            # A recorded state leaves twice, under two names, which only an Identity can do; all others go.
            if node.op_type == "Identity" and not node.outputs[0].is_graph_output():
                source = node.inputs[0]
                assert source is not None
                node.outputs[0].replace_all_uses_with(source)
                graph.remove(node, safe=True)
    Sequential(
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )(model)


def _describe(model: ir.Model, contract: Contract, *, in_time: bool) -> None:
    """Give shapes and an order to inputs and outputs as the contract has them."""
    outside = [spec.in_time() if in_time else spec for spec in (*contract.inputs, *contract.outputs)]
    ends = {spec.name: spec for spec in (*outside, *contract.states)}
    ends |= {spec.next_name: spec for spec in contract.states}
    values = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    for name, spec in ends.items():
        values[name].shape = ir.Shape([axis.name if axis.size is None else axis.size for axis in spec.axes])
    model.graph.outputs[:] = [values[s.name] for s in contract.outputs] + [values[s.next_name] for s in contract.states]
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None  # of use to nobody, and they name the open axes as the exporter pleased
