"""Our runtimes as contenders, and the networks that several cases share."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime
from deploy_snn.runtimes.c import CompiledC, _pointers
from deploy_snn.tensors import Arrays

from .rounds import Contender, timed

C, PYTHON, ONNX = "c", "c, Runtime.run", "ONNX Runtime"
MODELS = Path(__file__).parent.parent.parent / "models"
FORMATS = ["onnx", "c"]


@cache
def folder() -> TemporaryDirectory[str]:
    """Where bundles and the projects of peers are written to, until the end of the process."""
    return TemporaryDirectory(prefix="compiled-")


def new_folder(name: str) -> Path:
    """A path in that folder."""
    return Path(folder().name) / name


def exported(model: str, options: dict[str, Any], name: str, snap: int | None = None) -> Bundle:
    """A model as a bundle, or the bundle of this name from an earlier case."""
    path = new_folder(name)
    if path.exists():
        return Bundle.open(path)
    return export_model(model, options, path, formats=FORMATS, golden_steps=0, snap=snap)


def compiled(bundle: Bundle, inputs: Arrays, *, batch: int = 1) -> Contender:
    """The function ``NAME_run`` of ``model.c``, which writes into outputs that are allocated once, as a host in C does."""
    runtime, start = CompiledC(bundle), bundle.initial_state(batch)
    runtime.start(start)
    contract, steps = bundle.contract, len(next(iter(inputs.values())))
    given = [np.ascontiguousarray(inputs[spec.name]) for spec in contract.inputs]
    outputs = {spec.name: np.zeros((steps, *spec.shape(batch=batch)), spec.dtype) for spec in contract.outputs}
    arguments = (runtime._states, batch, steps, _pointers(given), _pointers(outputs.values()))

    def run() -> Arrays:
        runtime.start(start)
        runtime._run(*arguments)
        return outputs

    return timed(run, steps)


def with_runtime(name: str, bundle: Bundle, inputs: Arrays, *, batch: int = 1, exact: bool = True) -> Contender:
    """One of our runtimes, all steps in one call, which allocates the outputs."""
    runtime, start = find_runtime(name)(bundle), bundle.initial_state(batch)

    def run() -> Arrays:
        runtime.start(start)
        return runtime.run(inputs)

    return timed(run, len(next(iter(inputs.values()))), exact=exact)
