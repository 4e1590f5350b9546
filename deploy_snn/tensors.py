"""Named arrays in a safetensors file. torch, numpy and C++ can all read it, and reading it never unpickles anything."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from deploy_snn.errors import InvalidInput

Array = NDArray[Any]
Arrays = dict[str, Array]

TENSORS = ".safetensors"


def pack_tensors(tensors: Mapping[str, Array], notes: Mapping[str, str] | None = None) -> bytes:
    """Serialise named arrays, with optional notes as metadata. The same arrays give the same bytes."""
    # save() writes the memory of an array as it is, so it would write a transposed array in the wrong order.
    arrays = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    return save(arrays, dict(notes) if notes else None)


def unpack_tensors(data: bytes, where: str) -> Arrays:
    """Parse the bytes of ``pack_tensors``. Raises InvalidInput, naming the file ``where``, for anything else."""
    try:
        return load(data)
    except KeyError as error:
        raise InvalidInput(f"{where} holds tensors of a type that numpy does not have: {error.args[0]}") from None
    except (SafetensorError, TypeError, ValueError) as error:
        raise InvalidInput(f"{where} cannot be read as {TENSORS}: {error}") from None


def notes_on(packed: bytes) -> dict[str, str]:
    """Read the notes from the bytes of ``pack_tensors``, after ``unpack_tensors`` has checked them."""
    header = packed[8 : 8 + int.from_bytes(packed[:8], "little")]
    notes: dict[str, str] = json.loads(header).get("__metadata__", {})
    return notes


def write_tensors(path: Path, tensors: Mapping[str, Array], notes: Mapping[str, str] | None = None) -> None:
    """Write named arrays to a file, with optional notes. If writing fails, the file stays as it was."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(pack_tensors(tensors, notes))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: Path) -> Arrays:
    """Read every array of a file. Raises InvalidInput if it is missing or damaged."""
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as {TENSORS}: {error}") from None
    return unpack_tensors(data, str(path))


def check_finite(tensors: Mapping[str, Array], what: str) -> None:
    """Raise InvalidInput, with the index of the first one, if a tensor holds NaN or an infinity."""
    for name, tensor in tensors.items():
        finite = np.isfinite(tensor)
        if not finite.all():
            index = tuple(map(int, np.unravel_index(np.argmin(finite), finite.shape)))
            count = finite.size - np.count_nonzero(finite)
            raise InvalidInput(
                f"{what} '{name}' must be finite, but is {tensor[index]} at index {list(index)} ({count} such values)"
            )


def check_writable(path: Path) -> None:
    """Raise InvalidInput if a file cannot be written to this path."""
    folder = path.parent
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; expected the path of a file")
    if not folder.is_dir():
        raise InvalidInput(f"{path} cannot be written: the folder {folder} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InvalidInput(f"{path} cannot be written: permission denied")
