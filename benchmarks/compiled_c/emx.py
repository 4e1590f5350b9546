"""emx-onnx-cgen: ``step.onnx`` as C, node by node, with a loop over the steps around it."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library
from deploy_snn.tensors import Arrays

from .ours import new_folder
from .rounds import Contender, Skipped, timed

EMX = "emx-onnx-cgen"
LOOP = """
#include <stddef.h>
#include <stdbool.h>
{functions}
/* Each step reads one of the two copies of the state and writes the other one. */
void emx_run(int steps, char* const* inputs, char* const* outputs, char* (*copies)[{states}]) {{
  for (int t = 0; t < steps; t++) {{
    char** now = copies[t % 2];
    char** next = copies[1 - t % 2];
    model({arguments});
  }}
}}
"""


def with_emx(bundle: Bundle, inputs: Arrays) -> Contender:
    """The step of a bundle, compiled with the compiler and the flags that our C is compiled with."""
    command = shutil.which("emx-onnx-cgen", path=str(Path(sys.executable).parent))
    if command is None:
        raise Skipped("emx-onnx-cgen is not installed")
    folder = new_folder(f"emx_{bundle.path.name}")
    folder.mkdir(exist_ok=True)
    options = ["--restrict-arrays", "--input-dim", "batch=1"]
    done = subprocess.run(
        [command, "compile", *options, str(bundle.path / "step.onnx"), "model.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Skipped(f"emx-onnx-cgen: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
    contract = bundle.contract
    graph = onnx.load(str(bundle.path / "step.onnx"), load_external_data=False).graph
    specs = {spec.name: spec for spec in (*contract.inputs, *contract.outputs)}
    states = [spec.name for spec in contract.states]

    def argument(name: str, *, written: bool) -> str:
        state = name.removeprefix("next.") if written else name
        if state in states and name not in specs:
            return f"(void*){'next' if written else 'now'}[{states.index(state)}]"
        group = list(contract.outputs if written else contract.inputs)
        spec = specs[name]
        size = int(np.prod(spec.shape(batch=1))) * np.dtype(spec.dtype).itemsize
        return f"(void*)({'outputs' if written else 'inputs'}[{group.index(spec)}] + (size_t)t * {size})"

    arguments = [argument(value.name, written=False) for value in graph.input]
    arguments += [argument(value.name, written=True) for value in graph.output]
    source = (folder / "model.c").read_text()
    loop = LOOP.format(functions=source, states=max(1, len(states)), arguments=", ".join(arguments))
    library = ctypes.CDLL(str(build_library({"model.c": loop})))
    if (folder / "model.bin").exists() and not library.model_load(str(folder / "model.bin").encode()):
        raise Skipped("emx-onnx-cgen: its weights cannot be loaded")
    return _looped(library, bundle, inputs)


def _looped(library: ctypes.CDLL, bundle: Bundle, inputs: Arrays) -> Contender:
    contract, start = bundle.contract, bundle.initial_state(1)
    steps = len(next(iter(inputs.values())))
    given = [np.ascontiguousarray(inputs[spec.name]) for spec in contract.inputs]
    outputs = {spec.name: np.zeros((steps, *spec.shape(batch=1)), spec.dtype) for spec in contract.outputs}
    copies = [[np.array(start[spec.name]) for spec in contract.states] for _ in range(2)]

    def pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
        return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))

    arguments = (steps, pointers(given), pointers(list(outputs.values())), pointers(copies[0] + copies[1]))

    def run() -> Arrays:
        for array, spec in zip(copies[0], contract.states, strict=True):
            array[...] = start[spec.name]
        library.emx_run(*arguments)
        return outputs

    return timed(run, steps, exact=False)
