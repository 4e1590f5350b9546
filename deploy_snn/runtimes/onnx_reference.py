"""onnx's ReferenceEvaluator: slow, but it is the specification, and shows who is wrong."""

from functools import cached_property
from typing import ClassVar

import numpy as np
from onnx.reference import ReferenceEvaluator

from deploy_snn.formats import Bundle
from deploy_snn.runtimes.onnx_file import SEQUENCE, STEP, load_onnx
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Arrays


class OnnxReference(Runtime):
    """Evaluates ``step.onnx`` and ``sequence.onnx`` node by node in numpy."""

    files: ClassVar[tuple[str, ...]] = (STEP, SEQUENCE)
    about: ClassVar[str] = "onnx's ReferenceEvaluator: the specification, in numpy"

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
            results = evaluator.run(None, {**inputs, **self._state})
        given = dict(zip(evaluator.output_names, results, strict=True))
        self._state = {spec.name: given[spec.next_name] for spec in self.contract.states}
        return {spec.name: given[spec.name] for spec in self.contract.outputs}

    def state(self) -> Arrays:
        return dict(self._state)
