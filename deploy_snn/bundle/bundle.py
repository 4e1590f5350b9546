"""A bundle: a folder with a program in several formats, its manifest, its initial state and a golden trace."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy_snn.bundle.manifest import MANIFEST, FileRecord, Manifest
from deploy_snn.bundle.trace import Trace
from deploy_snn.contract import Contract, check_tensors, differences
from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import TENSORS, Arrays, read_tensors

if TYPE_CHECKING:
    from deploy_snn.runtimes import Session

INITIAL_STATE = "initial_state" + TENSORS
PARAMETERS = "parameters" + TENSORS
GOLDEN = "golden" + TENSORS


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files match their checksums."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a bundle and check every file against the manifest. Raises InvalidInput for the first mismatch."""
        path = Path(path)
        if not path.is_dir():
            raise InvalidInput(f"{path} is not a bundle: the folder does not exist")
        manifest = Manifest.read(path / MANIFEST)
        for name, recorded in manifest.files.items():
            if Path(name).name != name:
                raise InvalidInput(f"{path / MANIFEST} names a file outside the bundle: {name}")
            if not (path / name).is_file():
                raise InvalidInput(f"{path / name} is missing, but the manifest lists it: export the model again")
            size = (path / name).stat().st_size
            if size != recorded.bytes:
                raise InvalidInput(
                    f"{path / name} has {size} bytes, not {recorded.bytes}: truncated or changed; export the model again"
                )
            if file_record(path / name).sha256 != recorded.sha256:
                raise InvalidInput(f"{path / name} has changed since the export (SHA-256 differs): export the model again")
        bundle = cls(path, manifest)
        check_tensors(bundle.contract.states, bundle.initial_rows, "initial state")
        return bundle

    @property
    def name(self) -> str:
        """The name of the exported model."""
        return self.manifest.name

    @property
    def contract(self) -> Contract:
        """The records of every tensor that a step reads and returns."""
        return self.manifest.contract

    def file(self, name: str) -> Path:
        """The path of one of the bundle's files. Raises InvalidInput if the bundle was exported without it."""
        if name not in self.manifest.files:
            raise InvalidInput(
                f"{self.path} has no {name}, only {', '.join(self.manifest.files)}: export the model with that format"
            )
        return self.path / name

    def check_contract(self, inside: Contract, name: str) -> None:
        """Raise InvalidInput, with the differences, if the contract inside a file differs from the manifest's."""
        found = differences(self.contract, inside)
        if found:
            raise InvalidInput(f"the contract of {self.path / name} differs from the manifest: {'; '.join(found)}")

    @cached_property
    def initial_rows(self) -> Arrays:
        """The initial state for batch 1."""
        return read_tensors(self.file(INITIAL_STATE))

    def initial_state(self, batch: int = 1) -> Arrays:
        """The state before the first step, for ``batch`` rows. Raises InvalidInput for fewer than one."""
        if batch < 1:
            raise InvalidInput(f"batch={batch}: expected at least 1")
        axes = {spec.name: spec.batch_axis for spec in self.contract.states}
        return {
            name: row.copy() if axes[name] is None else row.repeat(batch, axis=axes[name])
            for name, row in self.initial_rows.items()
        }

    def golden(self) -> Trace:
        """The golden trace. Raises InvalidInput if the bundle has none."""
        return Trace.read(self.file(GOLDEN))

    def parameters(self) -> Arrays:
        """Every buffer of the program, by its state_dict name."""
        return read_tensors(self.file(PARAMETERS))

    def session(self, runtime: str = "onnxruntime-cpu", batch: int = 1) -> "Session":
        """Start a run of the program on a runtime, from the initial state for ``batch`` rows.

        Raises InvalidInput if the runtime is unknown or the bundle lacks its files, and Unavailable if it cannot run here.
        """
        from deploy_snn.runtimes import Session  # noqa: PLC0415  (reading a bundle needs no runtime)

        return Session(self, runtime, batch)

    def __repr__(self) -> str:
        """For example ``Bundle('export/lif': 8 files; states v, refrac_count)``."""
        states = ", ".join(spec.name for spec in self.contract.states)
        return f"Bundle('{self.path}': {len(self.manifest.files)} files; states {states})"


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and check its files. Raises InvalidInput if the folder is not a bundle, or is damaged."""
    return Bundle.open(path)


def file_record(path: Path) -> FileRecord:
    """The size and the checksum of a file."""
    with path.open("rb") as file:
        return FileRecord(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
