"""ONNX Runtime on a CUDA device."""

from typing import ClassVar

from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu, Providers


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """Keeps the state on the device between steps. TF32 is off, so that results can be compared with other runtimes."""

    device: ClassVar[str] = "cuda"
    providers: ClassVar[Providers] = [("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"})]
