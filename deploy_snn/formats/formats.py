"""The formats by name: a new one is a new file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy_snn.formats import onnx, pt2
from deploy_snn.formats.aoti import write_compiled_step
from deploy_snn.formats.torchscript import write_torchscript
from deploy_snn.program import Program


@dataclass(frozen=True)
class WriteOptions:
    """What a user may ask of the files. Raises InvalidInput for versions that cannot be written."""

    opset: int = onnx.DEFAULT_OPSET
    ir_version: int | None = None

    def __post_init__(self) -> None:
        onnx.check_versions(self.opset, self.ir_version)


@dataclass(frozen=True)
class Format:
    """A file that a bundle can hold."""

    file: str
    about: str
    write: Callable[[Program, Path, WriteOptions], None]


FORMATS: dict[str, tuple[Format, ...]] = {
    "onnx": (
        Format(
            "step.onnx",
            "ONNX graph of one step, batch dynamic",
            lambda program, path, options: onnx.write_step(program, path, options.opset, options.ir_version),
        ),
        Format(
            "sequence.onnx",
            "ONNX graph of a run, time and batch dynamic",
            lambda program, path, options: onnx.write_sequence(program, path, options.opset, options.ir_version),
        ),
    ),
    "torchscript": (
        Format(
            "model.pt",
            "TorchScript with forward, initial_state and rollout",
            lambda program, path, _: write_torchscript(program, path),
        ),
    ),
    "pt2": (
        Format("model.pt2", "torch.export program of one step", lambda program, path, _: pt2.write_step(program, path)),
        Format("sequence.pt2", "torch.export program of a run", lambda program, path, _: pt2.write_sequence(program, path)),
    ),
    "aoti": (
        Format(
            "step.aoti.pt2",
            "one step compiled ahead of time, for this kind of CPU",
            lambda program, path, _: write_compiled_step(program, path),
        ),
    ),
}
"""A format may need more than one file: one for a step, one for a whole run."""

PORTABLE = tuple(name for name in FORMATS if name != "aoti")
"""What is written unless something else is asked for: the formats that are tied to no machine."""
