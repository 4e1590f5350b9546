"""A bundle: a folder with the program in every format, its manifest, its initial state and a golden trace."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Self

from deploy_snn.contract import Contract, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.aoti import target_cpu
from deploy_snn.formats.formats import FORMATS, PORTABLE, WriteOptions
from deploy_snn.formats.manifest import MANIFEST, FileRecord, GoldenRecord, Manifest
from deploy_snn.network import Snapped
from deploy_snn.program import Program
from deploy_snn.readout import Readout
from deploy_snn.source import Source
from deploy_snn.tensors import TENSORS, Arrays, read_tensors, write_tensors
from deploy_snn.trace import Trace, to_numpy

INITIAL_STATE = "initial_state" + TENSORS
PARAMETERS = "parameters" + TENSORS
GOLDEN = "golden" + TENSORS
PARTIAL = ".partial-"
ASIDE = "-aside"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files have been found whole."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a bundle and hold every file against the manifest. Raises InvalidInput for the first that does not fit."""
        if not path.is_dir():
            raise InvalidInput(f"{path} is no bundle: there is no such folder")
        manifest = Manifest.read(path / MANIFEST)
        for name, recorded in manifest.files.items():
            if Path(name).name != name:
                raise InvalidInput(f"{path / MANIFEST} names a file outside the bundle: {name}")
            if not (path / name).is_file():
                raise InvalidInput(f"{path} lacks {name}, which its manifest lists: export it again")
            found = _record(path / name)
            if found.bytes != recorded.bytes:
                raise InvalidInput(
                    f"{path / name} has {found.bytes} bytes and not {recorded.bytes}: it is truncated or changed"
                )
            if found.sha256 != recorded.sha256:
                raise InvalidInput(f"{path / name} has changed since the export (SHA-256): export it again")
        bundle = cls(path, manifest)
        check_tensors(bundle.contract.states, bundle.initial_rows, "initial state")
        return bundle

    @property
    def contract(self) -> Contract:
        return self.manifest.contract

    def file(self, name: str) -> Path:
        """The path of one of the bundle's files. Raises InvalidInput if the bundle was exported without it."""
        if name not in self.manifest.files:
            raise InvalidInput(
                f"{self.path} holds no {name}; it holds {', '.join(self.manifest.files)}: export it with that format"
            )
        return self.path / name

    def check_contract(self, inside: Contract, name: str) -> None:
        """Raise InvalidInput if the contract inside a file is not the manifest's."""
        if inside != self.contract:
            ours, theirs = set(self.contract.tensors), set(inside.tensors)
            differing = "; ".join(map(str, theirs - ours)) or "the same tensors, but another dt or order"
            raise InvalidInput(f"{self.path / name} is of another model than the manifest: it has {differing}")

    @cached_property
    def initial_rows(self) -> Arrays:
        """The initial state of one row: batch 1."""
        return read_tensors(self.file(INITIAL_STATE))

    def initial_state(self, batch: int) -> Arrays:
        """The state before the first step, for ``batch`` rows."""
        if batch < 1:
            raise InvalidInput(f"a batch of {batch}: it needs at least one row")
        axes = {spec.name: spec.batch_axis for spec in self.contract.states}
        return {
            name: row.copy() if axes[name] is None else row.repeat(batch, axis=axes[name])
            for name, row in self.initial_rows.items()
        }

    def golden(self) -> Trace:
        """The recorded run."""
        return Trace.read(self.file(GOLDEN))

    def parameters(self) -> Arrays:
        """Every buffer of the program, by its state_dict name."""
        return read_tensors(self.file(PARAMETERS))


def write_bundle(
    path: Path,
    program: Program,
    source: Source,
    golden: tuple[Trace, GoldenRecord],
    *,
    formats: Sequence[str] = PORTABLE,
    options: WriteOptions | None = None,
    snapped: tuple[Snapped, ...] = (),
    readout: Readout | None = None,
) -> Bundle:
    """Write a bundle to ``path``, whole or not at all: into a folder beside it, which then takes its place.

    A bundle that stands there is replaced; anything else is left alone. Raises InvalidInput for a place that cannot be
    written or holds something else.
    """
    path = path.absolute()
    if path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(f"{path} exists and is no bundle: give another place with -o")
    above = next(folder for folder in path.parents if folder.exists())
    if not above.is_dir():
        raise InvalidInput(f"{path} cannot be written: {above} is no folder")
    trace, golden_record = golden
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}{PARTIAL}{os.getpid()}-", dir=path.parent))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        options = options or WriteOptions()
        for name in formats:
            for file in FORMATS[name]:
                file.write(program, partial / file.file, options)
        write_tensors(partial / INITIAL_STATE, to_numpy(program.initial_state(1)))
        write_tensors(partial / PARAMETERS, to_numpy(program.state_dict()))
        trace.write(partial / GOLDEN)
        manifest = Manifest(
            name=path.name,
            source=source,
            contract=program.contract,
            golden=golden_record,
            files={file.name: _record(file) for file in sorted(partial.iterdir())},
            onnx_opset=options.opset if "onnx" in formats else None,
            onnx_ir_version=options.ir_version if "onnx" in formats else None,
            compiled_for=target_cpu() if "aoti" in formats else None,
            snapped=snapped,
            readout=readout,
            plan=program.plan_in_words(),
            written_by={name: version(name) for name in ("deploy-snn", "torch", "onnx", "onnxscript")},
        )
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        partial.chmod(0o755)
        _put_in_place(partial, path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle.open(path)


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


def _sweep(path: Path) -> None:
    """Clear away what an export to this place left behind when it was killed, and put back a bundle it had set aside."""
    for left in sorted(path.parent.glob(f".{path.name}{PARTIAL}*")):
        if _alive(left.name.removeprefix(f".{path.name}{PARTIAL}").split("-")[0]):
            continue
        if left.name.endswith(ASIDE) and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: str) -> bool:
    if os.name == "nt":  # there, the question would end the process
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


def _record(path: Path) -> FileRecord:
    data = path.read_bytes()
    return FileRecord(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
