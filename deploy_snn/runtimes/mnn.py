"""MNN on the CPU, in high precision. The model is converted when it is loaded."""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import _tools  # MNN's converter. Its console script also installs a package and can send logs: it is never run.
import MNN
import numpy as np
import onnx

from deploy_snn.runtimes.repeated_step import RepeatedStep
from deploy_snn.tensors import Arrays


class Mnn(RepeatedStep):
    """A converted ``step.onnx``. MNN has no bool: its spikes are whole numbers."""

    library: ClassVar[str] = "MNN"
    precision: ClassVar[str] = "high"
    """"low" and the default "normal" may compute in float16 or bfloat16 where the CPU can."""

    def load(self, model: onnx.ModelProto) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, converted = Path(folder) / "step.onnx", Path(folder) / "step.mnn"
            onnx.save(model, source)
            arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(converted)]
            if not _tools.mnnconvert(["mnnconvert", *arguments]) or not converted.exists():
                raise RuntimeError("its converter fails")
            names = [spec.name for spec in self.arguments]
            configuration: Any = {"backend": 0, "numThread": 1, "precision": self.precision}
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
