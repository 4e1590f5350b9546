"""ONNX Runtime on the CPU, with the compiled step as one operator of a library that is built here."""

from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.ort_headers import ort_headers
from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu, session_options
from deploy_snn.runtimes.operator_library import operator_library
from deploy_snn.tensors import Arrays

STEP = "step.custom.onnx"
SOURCE = "step.custom.c"
FORMAT = "onnx-custom"


class OnnxRuntimeCustom(OnnxRuntimeCpu):
    """Runs ``step.custom.onnx`` with the library of ``step.custom.c``; a run repeats the step."""

    files: ClassVar[tuple[str, ...]] = (STEP, SOURCE)
    step_file: ClassVar[str] = STEP

    def __init__(self, bundle: Bundle) -> None:
        weights = bundle.manifest.formats.get(FORMAT, {}).get("weights", "")
        self._library = operator_library(bundle, SOURCE, weights, (f"-I{ort_headers()}",))
        super().__init__(bundle)

    def _create_session(self, name: str) -> Any:
        options = session_options()
        options.register_custom_ops_library(str(self._library))
        return ort.InferenceSession(self._model(name), options, providers=self.providers, enable_fallback=0)

    def run(self, inputs: Arrays) -> Arrays:
        series = [self.step(at(inputs, step)) for step in range(len(next(iter(inputs.values()))))]
        return {name: np.stack([outputs[name] for outputs in series]) for name in series[0]}
