"""The compiled step as one node of ONNX: an operator for ONNX Runtime, and a function for runtimes without its library."""

from pathlib import Path
from typing import Any, ClassVar

import onnx
from onnx import helper

from deploy_snn import __version__
from deploy_snn.compiled import CSource, c_source
from deploy_snn.compiled.ort_operator import OPERATOR, SOURCE_ATTRIBUTE, operator_domain, operator_source
from deploy_snn.compiled.single_file import source_hash
from deploy_snn.contract import CONTRACT_KEY
from deploy_snn.formats.c import HEADER, WEIGHTS
from deploy_snn.formats.format import Format
from deploy_snn.formats.onnx import Onnx
from deploy_snn.lowering import Lowered

STEP = "step.custom.onnx"
SOURCE = "step.custom.c"


class OnnxCustom(Format):
    """A graph of one node ``Step``, and the source of the library with its kernel. Options: none.

    The node's function body is the step of format ``onnx``: a runtime without the library runs this body. With the library,
    given to ONNX Runtime's ``RegisterCustomOpsLibrary``, the node is one call of the compiled step.
    """

    files: ClassVar[dict[str, str]] = {
        STEP: "ONNX graph of one step as one node, batch dynamic",
        SOURCE: "C99 source of the library for ONNX Runtime",
    }

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        compiled = c_source(lowered, header_name=HEADER)
        onnx.save(one_node(Onnx().step_graph(lowered), compiled), folder / STEP)
        (folder / SOURCE).write_text(operator_source(compiled, lowered.contract, header_name=HEADER, weights_name=WEIGHTS))
        if compiled.weights:
            (folder / WEIGHTS).write_bytes(compiled.weights)
        return {"domain": operator_domain(compiled), "weights": WEIGHTS if compiled.weights else ""}


def one_node(step: onnx.ModelProto, compiled: CSource) -> onnx.ModelProto:
    """A checked model with the inputs and outputs of a step, whose only node is the operator."""
    graph, domain = step.graph, operator_domain(compiled)
    inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
    constants = [helper.make_node("Constant", [], [value.name], value=value) for value in graph.initializer]
    opsets = list(step.opset_import)
    body = helper.make_function(
        domain, OPERATOR, inputs, outputs, [*constants, *graph.node], opsets, attributes=[SOURCE_ATTRIBUTE]
    )
    node = helper.make_node(OPERATOR, inputs, outputs, domain=domain, **{SOURCE_ATTRIBUTE: source_hash(compiled)})
    model = helper.make_model(
        helper.make_graph([node], "step", graph.input, graph.output),
        functions=[body],
        opset_imports=[*opsets, helper.make_opsetid(domain, 1)],
        ir_version=step.ir_version,
        producer_name="deploy_snn",
        producer_version=__version__,
    )
    contract = next(entry.value for entry in step.metadata_props if entry.key == CONTRACT_KEY)
    helper.set_model_props(model, {CONTRACT_KEY: contract})
    onnx.checker.check_model(model, full_check=True)
    return model
