"""ONNX Runtime on a CUDA device, with each step captured as a CUDA graph: one launch for a step instead of one per node."""

from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from deploy_snn.bundle.trace import at
from deploy_snn.contract import check_tensors
from deploy_snn.runtimes.onnxruntime import STEP, Providers
from deploy_snn.runtimes.onnxruntime_cuda import OnnxRuntimeCuda
from deploy_snn.tensors import Arrays


class OnnxRuntimeCudaGraph(OnnxRuntimeCuda):
    """Replays ``step.onnx``. A run repeats the step, because a CUDA graph cannot contain the Scan of a sequence.

    A graph has fixed addresses. So each of the two bindings, from one set of state buffers to the other, has a graph of its
    own, and all that it reads and writes is on the device. Raises Unavailable for a step that ONNX Runtime cannot capture:
    one with control flow, or with a node that runs on the CPU.
    """

    files: ClassVar[tuple[str, ...]] = (STEP,)
    providers: ClassVar[Providers] = [
        ("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0", "enable_cuda_graph": "1"})
    ]

    def _bind(self, batch: int) -> None:
        if self._batch:
            self._session = self._open(STEP)  # frees the graphs that write into the buffers of the previous batch
        self._device_outputs = {spec.name: self._buffer(spec, batch, self.device) for spec in self.contract.outputs}
        super()._bind(batch)
        self._graphs = [_graph_options(1), _graph_options(2)]

    def _bind_outputs(self, binding: Any) -> None:
        for name, value in self._device_outputs.items():
            binding.bind_ortvalue_output(name, value)

    def _read_outputs(self) -> Arrays:
        return {name: value.numpy() for name, value in self._device_outputs.items()}

    def _run_binding(self, session: Any, binding: Any) -> None:
        session.run_with_iobinding(binding, self._graphs[self._phase])

    def run(self, inputs: Arrays) -> Arrays:
        check_tensors((spec.in_time() for spec in self.contract.inputs), inputs, "input")
        series = [self.step(at(inputs, step)) for step in range(len(next(iter(inputs.values()))))]
        return {spec.name: np.stack([outputs[spec.name] for outputs in series]) for spec in self.contract.outputs}


def _graph_options(graph: int) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
