"""The manifest of a bundle: what it holds, where it came from, and what proves that it is whole."""

import json
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from deploy_snn.contract import Contract, Record, first_problem
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Snapped
from deploy_snn.readout import Readout
from deploy_snn.source import Source

SCHEMA = 1
MANIFEST = "manifest.json"


class FileRecord(Record):
    """A file of the bundle, as it was written."""

    bytes: int
    sha256: str


class GoldenRecord(Record):
    """How the golden trace was made."""

    stimulus: str
    steps: int
    batch: int
    seed: int


class Manifest(Record):
    """All that a host needs to know before it opens another file."""

    schema_version: int = SCHEMA
    name: str
    source: Source
    contract: Contract
    golden: GoldenRecord
    files: dict[str, FileRecord]
    onnx_opset: int | None = None
    onnx_ir_version: int | None = None
    compiled_for: str | None = None
    """The kind of CPU that format aoti is tied to, such as x86-64-v3."""
    snapped: tuple[Snapped, ...] = ()
    """What --snap-weights changed, and by how much."""
    readout: Readout | None = None
    """Which label each neuron of a layer stands for, if --labels said so."""
    plan: tuple[str, ...] = ()
    """What runs after what in the sequence files, in words: a network's components."""
    written_by: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest. Raises InvalidInput if it is missing, damaged, or of a newer schema than this toolkit knows."""
        try:
            raw = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InvalidInput(f"{path.parent} is no bundle: it has no {MANIFEST}") from None
        except (ValueError, OSError) as error:
            raise InvalidInput(f"{path} is damaged: {error}") from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise InvalidInput(
                f"{path} has schema {version}, and this deploy_snn reads schemas up to {SCHEMA}: pip install -U deploy-snn"
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise InvalidInput(f"{path} is damaged: {first_problem(error)}") from None
