"""Write a bundle atomically: into a temporary folder beside the target, which then replaces the target."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from deploy_snn import __version__
from deploy_snn.bundle import Bundle, GoldenRecord, Manifest, ParameterRecord, Readout, Snapped, Source, Trace
from deploy_snn.bundle.bundle import GOLDEN, INITIAL_STATE, PARAMETERS, file_record
from deploy_snn.bundle.manifest import MANIFEST
from deploy_snn.compiled import Refusal
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered
from deploy_snn.network import SnappedWeights, structure_of
from deploy_snn.program import Program
from deploy_snn.registry import FORMATS
from deploy_snn.tensors import Array, write_tensors

PARTIAL = ".partial-"
ASIDE = "-aside"

PORTABLE = tuple(name for name in FORMATS if not FORMATS.entry(name).on_request)
"""The default formats: those whose files run on every machine."""


@dataclass(frozen=True)
class Extras:
    """The optional contents of a bundle, in addition to the program."""

    golden: tuple[Trace, GoldenRecord] | None = None
    snapped: Sequence[SnappedWeights] = ()
    readout: Readout | None = None
    skip_refused: bool = False
    """Whether to leave out a format that does not support the model. The manifest then says why."""


def find_formats(formats: Sequence[str | Format]) -> dict[str, Format]:
    """Map names to format objects. A format given by name has its default options. Raises InvalidInput if it is unknown."""
    chosen: dict[str, Format] = {}
    for item in formats:
        if isinstance(item, str):
            FORMATS.entry(item)
            chosen[item] = FORMATS[item]()
        else:
            chosen[next(name for name in FORMATS if FORMATS.entry(name).attribute == type(item).__name__)] = item
    if not chosen:
        raise InvalidInput(f"formats is empty; choose from {', '.join(FORMATS)}")
    return chosen


def unreported(_stage: str) -> None:
    """The default callback for the stages of an export: it does nothing."""


def write_bundle(
    path: Path,
    program: Program,
    source: Source,
    formats: Sequence[str | Format],
    extras: Extras,
    *,
    on_stage: Callable[[str], None] = unreported,
) -> Bundle:
    """Write a bundle to ``path``. An existing bundle is replaced. ``on_stage`` gets the name of each format as it begins.

    Raises InvalidInput if the path cannot be written, or exists and is not a bundle. Raises Unavailable if a tool is
    missing.
    """
    chosen = find_formats(formats)
    path = path.absolute()
    if path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(f"{path} exists and is not a bundle: choose another path")
    ancestor = next(folder for folder in path.parents if folder.exists())
    if not ancestor.is_dir():
        raise InvalidInput(f"{path} cannot be written: {ancestor} is not a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(path)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}{PARTIAL}{os.getpid()}-", dir=path.parent))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        _write_files(partial, program, source, chosen, extras, name=path.name, on_stage=on_stage)
        partial.chmod(0o755)
        _put_in_place(partial, path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle.open(path)


def _write_files(
    folder: Path,
    program: Program,
    source: Source,
    formats: Mapping[str, Format],
    extras: Extras,
    *,
    name: str,
    on_stage: Callable[[str], None],
) -> None:
    trace, golden = extras.golden or (None, None)
    lowered = Lowered(program, name=name, golden=trace)
    sections = {}
    for format_name, format_ in formats.items():
        on_stage(format_name)
        try:
            sections[format_name] = format_.write(lowered, folder)
        except Refusal as refusal:
            if not extras.skip_refused:
                raise
            sections[format_name] = {"refused": str(refusal)}
    parameters = to_numpy(program.state_dict())
    write_tensors(folder / INITIAL_STATE, to_numpy(program.initial_state(1)))
    write_tensors(folder / PARAMETERS, parameters)
    if trace is not None:
        trace.write(folder / GOLDEN)
    manifest = Manifest(
        name=name,
        source=source,
        structure=structure_of(program),
        contract=program.contract,
        parameters={name: _parameter_record(array) for name, array in parameters.items()},
        golden=golden,
        files={file.name: file_record(file) for file in sorted(folder.iterdir())},
        formats=sections,
        snapped=tuple(Snapped(**asdict(snapped)) for snapped in extras.snapped),
        readout=extras.readout,
        plan=program.plan_in_words(),
        written_by={"deploy-snn": __version__} | _versions("torch", "onnx", "onnxscript"),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def _parameter_record(array: Array) -> ParameterRecord:
    if array.ndim == 0:
        return ParameterRecord(value=_number(array))
    if array.size == 0:
        return ParameterRecord(shape=array.shape)
    return ParameterRecord(shape=array.shape, smallest=_number(array.min()), largest=_number(array.max()))


def _number(value: Array) -> float | str:
    """A number in short decimal form: 0.1, where the float32 is 0.10000000149. A string for infinities, for JSON."""
    return float(str(np.asarray(value))) if np.isfinite(value) else str(np.asarray(value))


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _put_in_place(partial: Path, path: Path) -> None:
    if path.exists():
        old = partial.with_name(partial.name + ASIDE)
        path.rename(old)
        try:
            partial.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old)
    else:
        partial.rename(path)


def _clean_up(path: Path) -> None:
    """Remove the temporary folders of exports that were killed, and restore a bundle that such an export had moved."""
    for leftover in sorted(path.parent.glob(f".{path.name}{PARTIAL}*")):
        if _is_running(leftover.name.removeprefix(f".{path.name}{PARTIAL}").split("-")[0]):
            continue
        if leftover.name.endswith(ASIDE) and not path.exists():
            leftover.rename(path)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: str) -> bool:
    if os.name == "nt":  # on Windows, os.kill(pid, 0) would terminate the process
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True
