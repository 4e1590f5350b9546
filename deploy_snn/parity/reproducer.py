"""A reproducer: one wrong step as files, and a script that replays it with plain ONNX Runtime."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy_snn.bundle import Bundle
from deploy_snn.tensors import Arrays, write_tensors

STEP = "step.onnx"

SCRIPT = '''"""Replay one step: compare what ONNX Runtime computes with the expected and the recorded results."""
import numpy as np
import onnxruntime
from safetensors.numpy import load_file

session = onnxruntime.InferenceSession("step.onnx", providers=["CPUExecutionProvider"])
results = session.run(None, load_file("inputs.safetensors") | load_file("state.safetensors"))
for output, result in zip(session.get_outputs(), results):
    for other in ("expected", "actual"):
        same = result == load_file(f"{other}.safetensors")[output.name]
        print(f"{output.name}: {np.sum(~same)} elements differ from {other}, first at {np.argwhere(~same)[:1].tolist()}")
'''


@dataclass(frozen=True)
class WrongStep:
    """One step of a run in locked mode: what went in, what the reference computed, and what the runtime computed."""

    step: int
    inputs: Arrays
    state: Arrays
    expected: Arrays
    actual: Arrays


def write_reproducer(folder: Path, bundle: Bundle, wrong: WrongStep) -> None:
    """Write the tensors of a step, ``step.onnx`` and ``replay.py`` into a new or existing folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("inputs", "state", "expected", "actual"):
        write_tensors(folder / f"{name}.safetensors", getattr(wrong, name))
    shutil.copy(bundle.file(STEP), folder / STEP)
    (folder / "replay.py").write_text(SCRIPT)
