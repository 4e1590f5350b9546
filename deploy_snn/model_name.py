"""Whether a model is named by its class or by its file."""

from pathlib import Path

DEFINITION = ".py"
SUFFIXES = (
    DEFINITION,
    ".pt",
    ".pth",
    ".nir",
    ".npz",
    ".pkl",
    ".pickle",
    ".h5",
    ".hdf5",
    ".keras",
    ".ckpt",
    ".onnx",
    ".safetensors",
)
"""Suffixes by which a name means a file even if the file does not exist; what the file is, its content says."""


def names_a_file(model: str) -> bool:
    """Return whether a name means a file, and not a neuron class."""
    return Path(model).suffix in SUFFIXES or Path(model).is_file()
