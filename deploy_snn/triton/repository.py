"""A Triton model repository: a folder for each bundle, which Triton Inference Server serves under the bundle's name."""

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
    """Write a folder for each bundle into a repository, and give their paths. What else stands there is left alone.

    All are written beside the repository first and held against ``lint``; then each takes its place. A model that this
    function wrote before is replaced.

    Args:
        repository: a folder, which is made if there is none.
        bundles: what to serve.
        backend: one of ``BACKENDS``.

    Raises:
        InvalidInput: for a bundle that cannot be carried, a place that cannot be written, or one that holds something else.
    """
    names = [bundle.path.resolve().name for bundle in bundles]
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(f"{count} bundles are named {name}: a model has its folder's name, so rename one")
        _check_place(repository / name, name)
    try:
        repository.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Beside the repository and not inside: a server that polls it would load what is half written.
        with tempfile.TemporaryDirectory(
            prefix=f".{repository.name}.partial-", dir=repository.absolute().parent
        ) as partial:
            for bundle, name in zip(bundles, names, strict=True):
                _write_model(bundle, Path(partial) / name, backend)
            repository.mkdir(exist_ok=True)
            for name in names:
                _put_in_place(Path(partial) / name, repository / name)
    except OSError as error:
        raise InvalidInput(f"{repository} cannot be written: {error.strerror or error}") from None
    return [repository / name for name in names]


def _check_place(place: Path, name: str) -> None:
    if not place.exists():
        return
    config = place / CONFIG
    if not config.is_file() or not config.read_bytes().startswith(HEADER.format(name=name).encode()):
        raise InvalidInput(f"{place} exists and was not written by this command: give another place with -o")


def _write_model(bundle: Bundle, folder: Path, backend: str) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    load_onnx(bundle, STEP)  # for its errors
    shutil.copyfile(bundle.file(STEP), version / MODEL)
    config = BACKENDS[backend](bundle, folder)
    header = HEADER.format(name=folder.name)
    (folder / CONFIG).write_text(header + text_format.MessageToString(config))
    found = lint(folder)
    if found:
        raise InvalidInput(f"{bundle.path} would be wrong in Triton: {'; '.join(found)}")


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


def _put_in_place(written: Path, place: Path) -> None:
    """Let a folder take its place; the one that stood there is put back if it cannot."""
    old = written.with_name(written.name + "-aside")
    if place.exists():
        place.rename(old)
    try:
        written.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
