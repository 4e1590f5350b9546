"""Named arrays in a file: safetensors, which torch, numpy and C++ read alike, without unpickling anything."""

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
    """Arrays under their names, and notes on them, as a file holds them. The same arrays give the same bytes."""
    # save takes an array's memory as it lies, and so would write a transposed one in the wrong order.
    arrays = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    return save(arrays, dict(notes) if notes else None)


def unpack_tensors(data: bytes, where: str) -> Arrays:
    """What ``pack_tensors`` packed. Raises InvalidInput, naming ``where`` it stood, for anything else."""
    try:
        return load(data)
    except KeyError as error:
        raise InvalidInput(f"{where} holds tensors of a type that numpy lacks: {error.args[0]}") from None
    except (SafetensorError, TypeError, ValueError) as error:
        raise InvalidInput(f"{where} cannot be read as {TENSORS}: {error}") from None


def notes_on(packed: bytes) -> dict[str, str]:
    """The notes of what ``pack_tensors`` packed, and ``unpack_tensors`` could read."""
    header = packed[8 : 8 + int.from_bytes(packed[:8], "little")]
    notes: dict[str, str] = json.loads(header).get("__metadata__", {})
    return notes


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write arrays under their names, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(pack_tensors(tensors))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: Path) -> Arrays:
    """Read every array of a file. Raises InvalidInput if it is missing or damaged."""
    if not path.is_file():
        raise InvalidInput(f"{path} is no file" if path.exists() else f"{path} does not exist")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as {TENSORS}: {error}") from None
    return unpack_tensors(data, str(path))


def check_finite(tensors: Mapping[str, Array], what: str) -> None:
    """Raise InvalidInput, with the place of the first one, if a tensor holds NaN or an infinity."""
    for name, tensor in tensors.items():
        finite = np.isfinite(tensor)
        if not finite.all():
            bad = np.argwhere(~finite)
            place = tuple(map(int, bad[0]))
            raise InvalidInput(f"{what} '{name}' holds {tensor[place]} at {list(place)}, and {len(bad)} such values in all")


def check_writable(path: Path) -> None:
    """Raise InvalidInput, before any work is done, if a file cannot be written to this path."""
    folder = path.parent
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; expected the path of a file")
    if not folder.is_dir():
        raise InvalidInput(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InvalidInput(f"{path} cannot be written: permission denied")
