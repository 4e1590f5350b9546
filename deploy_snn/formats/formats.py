"""The formats by name: a new one is a new file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy_snn.formats.onnx import DEFAULT_OPSET, write_onnx
from deploy_snn.formats.pt2 import write_pt2
from deploy_snn.formats.torchscript import write_torchscript
from deploy_snn.program import Program


@dataclass(frozen=True)
class WriteOptions:
    """What a user may ask of the files."""

    opset: int = DEFAULT_OPSET
    ir_version: int | None = None


@dataclass(frozen=True)
class Format:
    """A file that a bundle can hold."""

    file: str
    about: str
    write: Callable[[Program, Path, WriteOptions], None]


FORMATS: dict[str, Format] = {
    "onnx": Format(
        "step.onnx",
        "ONNX graph of one step, batch dynamic",
        lambda program, path, options: write_onnx(program, path, options.opset, options.ir_version),
    ),
    "torchscript": Format(
        "model.pt",
        "TorchScript with forward, initial_state and rollout",
        lambda program, path, _: write_torchscript(program, path),
    ),
    "pt2": Format("model.pt2", "torch.export program of one step", lambda program, path, _: write_pt2(program, path)),
}
