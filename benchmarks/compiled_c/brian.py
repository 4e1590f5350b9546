"""Brian2 in C++ standalone mode: a program that ``brian_project.py`` writes, and that reports how long its steps took.

Brian2 2.9 needs an older numpy than we do, and so an environment of its own: ``brian2`` beside the one that runs this. The
programs are kept there, in ``built``, by the content of their sources, as g++ needs most of a minute for one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from deploy_snn.tensors import Array, Arrays

from .one_core import CORES, all_cores
from .ours import new_folder
from .rounds import Contender, Skipped, dense

BRIAN = "Brian2"
PROJECT = Path(__file__).with_name("brian_project.py")
ENVIRONMENT = Path(sys.prefix).parent / "brian2"


def with_brian(model: str, name: str, steps: int, given: dict[str, object], spikes: dict[str, int]) -> Contender:
    """A model of ``brian_project.py``.

    Args:
        model: the name of its function.
        name: the name of the project's folder.
        steps: how many steps a run has.
        given: arrays and numbers that the function reads.
        spikes: the tensors with spikes and their numbers of neurons. The monitor of ``exc.s`` is ``exc_s``.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise Skipped(f"Brian2 is not installed: there is no {ENVIRONMENT}")
    folder = new_folder(f"brian2_{name}")
    folder.mkdir(exist_ok=True)
    np.savez(folder / "given.npz", steps=steps, **given)
    _succeed([str(python), "-W", "ignore", str(PROJECT), model, str(folder / "given.npz"), str(folder)], folder)
    built = ENVIRONMENT / "built" / _key(folder)
    if not built.exists():
        with all_cores():
            _succeed(["make", f"-j{len(CORES)}"], folder)
        built.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / "main", built.with_suffix(".new"))
        built.with_suffix(".new").replace(built)
    shutil.copyfile(built, folder / "main")
    (folder / "main").chmod(0o755)

    def seconds() -> float:
        _succeed([str(folder / "main")], folder)
        return float((folder / "results" / "last_run_info.txt").read_text().split()[0])

    seconds()
    found = {tensor: _monitored(folder, tensor, (steps, n)) for tensor, n in spikes.items()}
    return Contender(steps, seconds, found, exact=False)  # its flags have -ffast-math


def brian_version() -> str:
    """The installed version, or that there is none."""
    found = [path.name.split("-")[1] for path in ENVIRONMENT.glob("lib/python*/site-packages/[Bb]rian2-*.dist-info")]
    return f"Brian2 {found[0].removesuffix('.dist')}" if found else "no Brian2"


def input_spikes(step: Array, index: Array, room: int) -> Arrays:
    """Input spikes for ``brian_project.generator``, with room for more spikes in another case."""
    return {"input_t": step, "input_i": index, "input_room": np.array(room)}


def _succeed(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["no message"])[-1]
        raise Skipped(f"Brian2: {Path(command[0]).name} failed with status {done.returncode}: {last}")


def _key(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".cpp", ".h"} or path.name == "makefile"):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _monitored(folder: Path, tensor: str, shape: tuple[int, int]) -> Array:
    """The spikes that a monitor recorded, ``[steps, 1, neurons]``."""

    def read(what: str, dtype: type) -> Array:
        (path,) = (folder / "results").glob(f"_dynamic_array_{tensor.replace('.', '_')}_{what}_*")
        return np.fromfile(path, dtype)

    return dense(np.round(read("t", np.float64) * 1000).astype(int), read("i", np.int32), shape)
