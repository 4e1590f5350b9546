"""Writing a Triton model repository: one folder per bundle, whose name is the name of the model."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes.onnx_reference import STEP, load_onnx
from deploy_snn.triton.config import CONFIG, INITIAL_STATE, MODEL, VERSION, data_file, onnxruntime_config, python_config
from deploy_snn.triton.lint import lint

HEADER = "# Written by deploy-snn triton from the bundle {name}; writing it again replaces this folder.\n"


def write_repository(repository: Path, bundles: Sequence[Bundle], backend: str) -> list[Path]:
    """Write one model per bundle into a repository and return their folders. Other models in it are not changed.

    All models are first written beside the repository and checked by ``lint``, then moved into it. A model that this
    function wrote earlier is replaced. A repository that is a mount point has another file system than the folder beside
    it: there, the models are first written into a hidden folder inside.

    Args:
        repository: a folder, which is created if it does not exist.
        bundles: the bundles to serve.
        backend: one of ``BACKENDS``.

    Raises:
        InvalidInput: for a bundle that Triton cannot serve, a folder that cannot be written, or one with other content.
    """
    names = [bundle.path.resolve().name for bundle in bundles]
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(
                f"{count} bundles are named {name}: the name of a model is the name of its folder, so rename one"
            )
        _check_replaceable(repository / name, name)
    try:
        beside = repository.absolute().parent
        beside.mkdir(parents=True, exist_ok=True)
        # Beside the repository, not inside: a server that polls it would log an error about a folder that is no model.
        inside = repository.exists() and repository.stat().st_dev != beside.stat().st_dev
        with tempfile.TemporaryDirectory(prefix=".deploy-snn-partial-", dir=repository if inside else beside) as partial:
            for bundle, name in zip(bundles, names, strict=True):
                _write_model(bundle, Path(partial) / name, backend)
            repository.mkdir(exist_ok=True)
            for name in names:
                _move_into_place(Path(partial) / name, repository / name)
    except OSError as error:
        raise InvalidInput(f"{repository} cannot be written: {error.strerror or error}") from None
    return [repository / name for name in names]


def _check_replaceable(folder: Path, name: str) -> None:
    if not folder.exists():
        return
    config = folder / CONFIG
    if not config.is_file() or not config.read_bytes().startswith(HEADER.format(name=name).encode()):
        raise InvalidInput(f"{folder} exists and was not written by deploy_snn: choose another repository")


def _write_model(bundle: Bundle, folder: Path, backend: str) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    load_onnx(bundle, STEP)  # raises an error if the file is damaged
    shutil.copyfile(bundle.file(STEP), version / MODEL)
    config = BACKENDS[backend](bundle, folder)
    header = HEADER.format(name=folder.name)
    (folder / CONFIG).write_text(header + text_format.MessageToString(config))
    found = lint(folder)
    if found:
        raise InvalidInput(f"{bundle.path} cannot be served by Triton: {'; '.join(found)}")


def _write_onnxruntime(bundle: Bundle, folder: Path) -> Any:
    states = bundle.contract.states
    if states:
        (folder / INITIAL_STATE).mkdir()
    for spec in states:
        row = bundle.initial_rows[spec.name]
        raw = row.astype(row.dtype.newbyteorder("<")).tobytes()
        (folder / INITIAL_STATE / data_file(spec)).write_bytes(raw)
    return onnxruntime_config(folder.name, bundle.contract)


def _write_python(bundle: Bundle, folder: Path) -> Any:
    version = folder / VERSION
    shutil.copyfile(Path(__file__).with_name("model.py"), version / "model.py")
    shutil.copyfile(bundle.file("initial_state.safetensors"), version / "initial_state.safetensors")
    return python_config(folder.name, bundle.contract)


BACKENDS: dict[str, Callable[[Bundle, Path], Any]] = {"onnxruntime": _write_onnxruntime, "python": _write_python}


def _move_into_place(written: Path, target: Path) -> None:
    """Replace a folder by the written one; on an error, restore the old one."""
    old = written.with_name(written.name + "-old")
    if target.exists():
        target.rename(old)
    try:
        written.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
