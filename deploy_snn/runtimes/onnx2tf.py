"""onnx2tf, which converts ONNX to LiteRT. It is a command of an environment of its own, and runs as a process.

It needs Python 3.12 or newer, and its releases name fixed versions of onnx, onnxscript, protobuf and numpy that clash with
those of the toolkit. So nothing of it is imported here.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "DEPLOY_SNN_ONNX2TF"

NO_ONNX2TF = (
    "onnx2tf, which converts step.onnx, was not found: install it in an environment of its own, with Python 3.12 or newer "
    f"(pipx install onnx2tf), and put the command onnx2tf on PATH, or its path into {VARIABLE}"
)

OPTIONS = (
    "-nuo",  # without onnxsim: whether it runs depends on PATH, and it may combine constants
    "-n",  # no progress
)

OTHER_PYTHON = ("PYTHONPATH", "PYTHONHOME")
"""Variables that would make the command import packages of this Python."""


def find_onnx2tf() -> str | None:
    """Return the path of the command in ``$DEPLOY_SNN_ONNX2TF``, or of ``onnx2tf`` on PATH; None if it is not found."""
    return shutil.which(os.environ.get(VARIABLE) or "onnx2tf")


def convert(model: bytes, keep: Iterable[str]) -> bytes:
    """Convert an ONNX file to a LiteRT file in float32.

    Args:
        model: the bytes of the file. onnx2tf rewrites the file that it reads, so that it gets a copy.
        keep: the inputs whose axes keep their order. By default, onnx2tf moves the channels of an image to the end.

    Raises RuntimeError if the conversion fails.
    """
    command = find_onnx2tf()
    if command is None:
        raise RuntimeError(NO_ONNX2TF)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "step.onnx").write_bytes(model)
        done = subprocess.run(  # noqa: S603  (the command that the user names)
            [command, "-i", "step.onnx", "-o", "converted", *OPTIONS, "-kat", *keep],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in OTHER_PYTHON},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        converted = Path(folder) / "converted" / "step_float32.tflite"
        if done.returncode or not converted.exists():
            raise RuntimeError(f"{command} fails with status {done.returncode}: {_reason(done.stdout)}")
        return converted.read_bytes()


def _reason(log: str) -> str:
    """Return the last line of a log that contains "error", or else its last line."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", log).replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it printed nothing"])[-1]
