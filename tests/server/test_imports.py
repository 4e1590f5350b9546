"""The server imports neither torch nor onnx: without them it starts sooner and needs a third of the memory."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deploy_snn.c_compiler import cache_folder

EXPORT = Path(__file__).parent.parent.parent / "export"
LIBRARY = re.compile(r"/(?:libtorch\w*\.so|libc10\.so|torch/|onnx/|onnx_cpp2py\w*|onnxscript/|onnx_ir/|functorch/)")


def libraries(process: int) -> set[str]:
    """Return the native libraries of torch and onnx, but not of onnxruntime, that a process has mapped."""
    maps = Path(f"/proc/{process}/maps").read_text()
    return {path for path in re.findall(r"(/\S+)$", maps, re.MULTILINE) if LIBRARY.search(path)}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc on this system")
@pytest.mark.parametrize(
    ("runtime", "library"), [("onnxruntime-cpu", "onnxruntime_pybind11_state"), ("c", str(cache_folder()))]
)
def test_server_imports_neither_torch_nor_onnx(
    runtime: str, library: str, running: Callable, free_port: Callable[[], int]
) -> None:
    """After all routes were used, no library of torch or onnx is mapped. In this process both are, as a control."""
    import onnx  # noqa: F401
    import torch

    assert {Path(path).name for path in libraries(Path("/proc/self").resolve().name)} >= {"libtorch_cpu.so"}, torch.__file__
    x = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [9.0] * 8}
    body = {"inputs": [x], "parameters": {"sequence_id": "a", "sequence_start": True}}
    with (
        running([EXPORT / "lif"], "--model-control", "--grpc-port", free_port(), "--runtime", runtime) as served,
        httpx.Client(base_url=f"http://{served.address}") as http,
    ):
        assert http.post("/v2/models/lif/infer", json=body).status_code == 200
        state = http.get("/v2/models/lif/sequences/a/state")
        assert http.put("/v2/models/lif/sequences/b/state", content=state.content).status_code == 201
        for path in ("/v2/models/lif", "/openapi.json", "/metrics", "/"):
            assert http.get(path).status_code == 200
        for action in ("unload", "load"):
            assert http.post(f"/v2/repository/models/lif/{action}").status_code == 200
        mapped = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert library in mapped
        assert libraries(served.process.pid) == set()
