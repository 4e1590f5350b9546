"""onnx's ReferenceEvaluator: slow, but it is the specification, and shows who is wrong."""

from typing import ClassVar

import numpy as np
from onnx.reference import ReferenceEvaluator

from deploy_snn.formats import Bundle
from deploy_snn.runtimes.onnx_file import STEP, load_step
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Arrays


class OnnxReference(Runtime):
    """Evaluates ``step.onnx`` node by node in numpy."""

    file: ClassVar[str] = STEP
    about: ClassVar[str] = "onnx's ReferenceEvaluator: the specification, in numpy"

    def __init__(self, bundle: Bundle) -> None:
        self.contract = bundle.contract
        self._evaluator = ReferenceEvaluator(load_step(bundle))
        self._state: Arrays = {}

    def start(self, state: Arrays) -> None:
        self._state = dict(state)

    def step(self, inputs: Arrays) -> Arrays:
        with np.errstate(all="ignore"):  # IEEE arithmetic, as in every other runtime
            results = self._evaluator.run(None, {**inputs, **self._state})
        given = dict(zip(self._evaluator.output_names, results, strict=True))
        self._state = {spec.name: given[spec.next_name] for spec in self.contract.states}
        return {spec.name: given[spec.name] for spec in self.contract.outputs}

    def state(self) -> Arrays:
        return dict(self._state)
