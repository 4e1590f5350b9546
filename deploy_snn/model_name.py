"""Whether the name of a model means a neuron class or a file."""

from pathlib import Path

DEFINITION = ".py"
SUFFIXES = (DEFINITION, ".pt", ".pth", ".nir", ".npz", ".pkl", ".pickle", ".h5", ".ckpt", ".safetensors")
"""A name with one of these suffixes means a file, even if the file does not exist."""


def names_a_file(model: str) -> bool:
    """Whether a model's name means a file and not a neuron class."""
    return Path(model).suffix in SUFFIXES or Path(model).is_file()
