"""What the word for a model stands for: a neuron class, or a file."""

from pathlib import Path

DEFINITION = ".py"
SUFFIXES = (DEFINITION, ".pt", ".pth", ".nir", ".npz", ".pkl", ".pickle", ".h5", ".ckpt", ".safetensors")
"""Endings by which a word is taken for a file even if it does not exist."""


def names_a_file(model: str) -> bool:
    """Whether a word stands for a file, and not for a neuron class."""
    return Path(model).suffix in SUFFIXES or Path(model).is_file()
