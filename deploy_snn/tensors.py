"""Named arrays in a file: numpy's ``.npz``, read without unpickling anything."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_snn.errors import InvalidInput

Array = NDArray[Any]
Arrays = dict[str, Array]


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write arrays under their names, whole or not at all. The same arrays give the same bytes."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **tensors)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: Path) -> Arrays:
    """Read every array of a file. Raises InvalidInput if it is missing, damaged, or holds Python objects."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput(f"{path} holds one bare array; expected an .npz file with named arrays")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path} cannot be read as .npz: {error}") from None


def check_finite(tensors: Mapping[str, Array], what: str) -> None:
    """Raise InvalidInput, with the place of the first one, if a tensor holds NaN or an infinity."""
    for name, tensor in tensors.items():
        bad = np.argwhere(~np.isfinite(tensor))
        if len(bad):
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
