"""MNN on the CPU: with what makes it exact, and as it comes. The model is converted when it is loaded."""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import _tools  # MNN's converter. Its console script also installs a package and can send logs: it is never run.
import MNN
import numpy as np
import onnx

from deploy_snn.runtimes.repeated_step import RepeatedStep
from deploy_snn.tensors import Arrays


class MnnDefault(RepeatedStep):
    """A converted ``step.onnx``. MNN has no bool: its spikes are whole numbers.

    MNN 3.6 compares the operands of an ONNX ``Less`` as if their bits were integers: negative numbers are wrong.
    """

    library: ClassVar[str] = "MNN"
    options: ClassVar[dict[str, Any]] = {}

    def load(self, model: onnx.ModelProto) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, converted = Path(folder) / "step.onnx", Path(folder) / "step.mnn"
            onnx.save(model, source)
            arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(converted)]
            if not _tools.mnnconvert(["mnnconvert", *arguments]) or not converted.exists():
                raise RuntimeError("its converter fails")
            names = [spec.name for spec in self.arguments]
            configuration: Any = {"backend": 0, "numThread": 1, **self.options}
            self._runtime = MNN.nn.create_runtime_manager((configuration,))
            self._module = MNN.nn.load_module_from_file(
                str(converted), names, list(self.results), runtime_manager=self._runtime
            )

    def compute(self, arrays: Arrays) -> Arrays:
        given = []
        for spec in self.arguments:
            variable = MNN.expr.placeholder(list(arrays[spec.name].shape), MNN.expr.NCHW, MNN.expr.float)
            variable.write(arrays[spec.name])
            given.append(variable)
        computed = self._module.forward(given)
        return {
            name: np.array(MNN.expr.convert(variable, MNN.expr.NCHW).read())
            for name, variable in zip(self.results, computed, strict=True)
        }


class Mnn(MnnDefault):
    """MNN in high precision, with each ``a < b`` as ``b > a``, which it computes correctly."""

    options: ClassVar[dict[str, Any]] = {"precision": "high"}  # the default may use float16 or bfloat16

    def load(self, model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "Less":
                node.op_type = "Greater"
                node.input[:] = reversed(node.input)
        super().load(model)
