"""What the CUDA runtimes say where CUDA cannot be used. These tests need no GPU."""

import ctypes
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.contract import Operation
from deploy_snn.eager import to_torch
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import unavailable_reason
from deploy_snn.runtimes.cuda_libraries import missing_cuda_library
from deploy_snn.runtimes.onnxruntime_cuda import OnnxRuntimeCuda, cause

EXPORT = Path(__file__).parent.parent.parent / "export"

NO_CUDNN = (
    "Error in execution: Non-zero status code returned while running Conv node. Name:'node_conv2d' Status Message: "
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_kernel.h:296 static cudnnContext* "
    "onnxruntime::cuda::CudaKernel::RequireCudnnHandle(cudnnHandle_t) [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN is "
    "unavailable or disabled for CUDA Execution Provider: dlopen failed for libcudnn.so: libcudnn.so: cannot open shared "
    "object file: No such file or directory\n"
)
"""The error of onnxruntime-gpu 1.31 without cuDNN, as it was seen."""


def test_a_missing_cudnn_is_named() -> None:
    assert cause(RuntimeError(NO_CUDNN)) == (
        "Conv needs cuDNN (pip install nvidia-cudnn-cu13): cuDNN is unavailable or disabled for CUDA Execution Provider: "
        "dlopen failed for libcudnn.so: libcudnn.so: cannot open shared object file: No such file or directory"
    )


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime whose CUDA provider finds no device; sessions on the CPU are real."""
    real = ort.InferenceSession

    def create(
        path: Path, options: ort.SessionOptions, *, providers: list, enable_fallback: int = 1
    ) -> ort.InferenceSession:
        if providers != ["CPUExecutionProvider"]:
            if enable_fallback:
                print("*** EP Error ***")  # noqa: T201  (as ONNX Runtime does)
                return real(path, options, providers=["CPUExecutionProvider"])
            raise RuntimeError("cuda_call.cc:129 [ONNXRuntimeError] : 1 : FAIL : CUDA failure 100: no CUDA-capable device")
        return real(path, options, providers=providers, enable_fallback=enable_fallback)

    monkeypatch.setattr(ort, "InferenceSession", create)


@pytest.mark.usefixtures("no_device")
def test_the_cause_is_raised_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable, match=r"step\.onnx on CUDA: CUDA failure 100: no CUDA-capable device$"):
        OnnxRuntimeCuda(Bundle.open(EXPORT / "lif"))
    shutil.copytree(EXPORT / "lif", tmp_path / "lif")
    bundle = Bundle.open(tmp_path / "lif")
    (tmp_path / "lif" / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidInput, match=r"step\.onnx"):  # a fault of the file, on any device
        OnnxRuntimeCuda(bundle)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(unavailable_reason("onnxruntime-cuda") is None, reason="CUDA can be used here")
def test_onnx_runtime_without_cuda_is_no_silent_fall_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable, match="CUDAExecutionProvider"):
        OnnxRuntimeCuda(Bundle.open(EXPORT / "lif"))
    assert not capfd.readouterr().out


def test_the_search_for_libraries_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """ONNX Runtime prints the libraries that it does not find, and the reason names them."""
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "capi" / "libonnxruntime_providers_cuda.so").touch()
    spec = type("Spec", (), {"origin": str(package / "__init__.py")})
    monkeypatch.setattr("deploy_snn.runtimes.cuda_libraries.find_spec", lambda _: spec)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublas.so.13"), raising=False)  # noqa: T201

    def load(name: str) -> None:
        if name.endswith("providers_cuda.so"):
            raise OSError("libcublas.so.13: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert str(missing_cuda_library.__wrapped__()).endswith("loaded: libcublas.so.13: cannot open shared object file")
    assert capsys.readouterr().out == ""


MARGIN = 2.0**-20
"""Sixteen units in the last place of a probability near 1: more than the exponentials of any runtime differ by."""


@pytest.mark.parametrize("name", ["srm0", "reservoir_srm0"])
def test_no_spike_of_a_golden_trace_hangs_on_the_last_bits_of_an_exponential(name: str) -> None:
    """The contract lets exponentials differ in their last bits. So no noise may lie that close to a probability."""
    bundle = Bundle.open(EXPORT / name)
    golden, program = bundle.golden(), reference_program(bundle)
    rounded = [entry.tensor for entry in bundle.contract.rounding if entry.operation is Operation.EXP]
    assert rounded
    closest = min(
        float((probability - noise).abs().min())
        for step in range(golden.steps)
        for compared in [program.threshold_inputs(to_torch(at(golden.inputs, step)), to_torch(golden.state_before(step)))]
        for probability, noise in (compared[tensor] for tensor in rounded)
    )
    assert np.isfinite(closest)
    assert closest > MARGIN
