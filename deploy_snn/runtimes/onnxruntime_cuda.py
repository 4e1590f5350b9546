"""ONNX Runtime on a CUDA device."""

from typing import ClassVar

from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu, Providers


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """The state never leaves the device between steps. Products are not in TF32, so that they can be compared."""

    device: ClassVar[str] = "cuda"
    providers: ClassVar[Providers] = [("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"})]
