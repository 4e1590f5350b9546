"""onnx's ReferenceEvaluator. It is slow, but it follows the ONNX specification, so it shows which runtime is wrong."""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx.reference import ReferenceEvaluator

from deploy_snn.bundle import Bundle
from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.runtimes.graph_names import check_graph_names
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Arrays

STEP = "step.onnx"
SEQUENCE = "sequence.onnx"
NORMALISE = "normalise.onnx"


class OnnxReference(Runtime):
    """Evaluates ``step.onnx`` and ``sequence.onnx`` node by node in numpy."""

    files: ClassVar[tuple[str, ...]] = (STEP, SEQUENCE)

    def __init__(self, bundle: Bundle) -> None:
        self.contract = bundle.contract
        self.bundle = bundle
        self._state: Arrays = {}

    @cached_property
    def _step(self) -> ReferenceEvaluator:
        return ReferenceEvaluator(load_onnx(self.bundle, STEP))

    @cached_property
    def _sequence(self) -> ReferenceEvaluator:
        return ReferenceEvaluator(load_onnx(self.bundle, SEQUENCE))

    def start(self, state: Arrays) -> None:
        self._state = dict(state)

    def step(self, inputs: Arrays) -> Arrays:
        return self._evaluate(self._step, inputs)

    def run(self, inputs: Arrays) -> Arrays:
        return self._evaluate(self._sequence, inputs)

    def _evaluate(self, evaluator: ReferenceEvaluator, inputs: Arrays) -> Arrays:
        with np.errstate(all="ignore"):  # IEEE arithmetic, as in every other runtime
            try:
                results = evaluator.run(None, {**inputs, **self._state})
            except Exception as error:  # its operators raise whatever numpy raises
                _check_types(evaluator.proto_)
                raise Unavailable(f"onnx's ReferenceEvaluator cannot run the graph: {first_line(error)}") from error
        named = dict(zip(evaluator.output_names, results, strict=True))
        self._state = {spec.name: named[spec.next_name] for spec in self.contract.states}
        return {spec.name: named[spec.name] for spec in self.contract.outputs}

    def scaled_weights(self, state: Arrays) -> Arrays:
        if NORMALISE not in self.bundle.manifest.files:
            return {}
        weights = self.contract.weights
        evaluator = ReferenceEvaluator(load_onnx(self.bundle, NORMALISE))
        results = evaluator.run([spec.next_name for spec in weights], {spec.name: state[spec.name] for spec in weights})
        return dict(zip([spec.name for spec in weights], results, strict=True))

    def state(self) -> Arrays:
        return dict(self._state)


def _check_types(model: Any) -> None:
    """Raise InvalidInput if the graph itself is wrong, so that no evaluator could run it."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise InvalidInput(f"the graph is not valid: {first_line(error)}") from error


def load_onnx(bundle: Bundle, name: str) -> onnx.ModelProto:
    """Load a bundle's ONNX file. Raises InvalidInput if it is damaged, or if its contract differs from the manifest's."""
    path = bundle.file(name)
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise InvalidInput(f"{path} is not a valid ONNX file: {first_line(error)}") from None
    inside = {entry.key: entry.value for entry in model.metadata_props}
    bundle.check_contract(Contract.parse(inside.get(CONTRACT_KEY, ""), str(path)), name)
    check_graph_names(bundle.contract, (value.name for value in model.graph.output), path)
    return model
