"""ONNX Runtime on a CUDA device."""

import re
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from deploy_snn.bundle import Bundle
from deploy_snn.errors import Unavailable, first_line
from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu, Providers, create_session


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """Keeps the state on the device between steps. TF32 is off, so that results can be compared with other runtimes.

    Raises Unavailable, with ONNX Runtime's cause, if the device cannot be used or a library is missing.
    """

    device: ClassVar[str] = "cuda"
    providers: ClassVar[Providers] = [("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"})]

    def __init__(self, bundle: Bundle) -> None:
        ort.set_default_logger_severity(4)  # it would print warnings about other kinds of providers for each session
        super().__init__(bundle)
        # ONNX Runtime looks for cuDNN, and for code for this device, at the first step. What is missing is an error here,
        # and not at the first step of the caller.
        self.start(bundle.initial_state(1))
        self.step({spec.name: np.zeros(spec.shape(batch=1), spec.dtype) for spec in self.contract.inputs})

    def _create_session(self, name: str) -> Any:
        try:
            return super()._create_session(name)
        except Exception as error:
            create_session(self._model(name), OnnxRuntimeCpu.providers)  # raises its own error if the cause is the file
            raise Unavailable(f"ONNX Runtime cannot run {self.bundle.file(name)} on CUDA: {cause(error)}") from error

    def _run_binding(self, session: Any, binding: Any) -> None:
        session.run_with_iobinding(binding)

    def _call(self, session: Any, binding: Any) -> None:
        try:
            self._run_binding(session, binding)
        except Exception as error:
            raise Unavailable(f"{self.bundle.path} cannot run on CUDA: {cause(error)}") from error


def cause(error: BaseException) -> str:
    """The cause in an error of ONNX Runtime, without the places in its source code.

    A graph with convolutions needs cuDNN, which is a package of its own: its error says so.
    """
    text = re.sub(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
    if "cudnn" not in text.lower():
        return text
    node = re.search(r"while running (\w+) node", first_line(error))
    return f"{node[1] if node else 'the graph'} needs cuDNN (pip install nvidia-cudnn-cu13): {text}"
