"""The manifest of a bundle: its contents, its source, and the checksums of its files."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from deploy_snn.bundle.readout import Readout
from deploy_snn.contract import CONTRACT_VERSION, Contract, Record, first_problem, read_json
from deploy_snn.contract_v1 import upgrade_contract
from deploy_snn.errors import InvalidInput
from deploy_snn.structure import Structure

SCHEMA: Literal[2] = 2
MANIFEST = "manifest.json"


class FileRecord(Record):
    """The size and the checksum of a file when it was written."""

    bytes: int
    sha256: str


class GoldenRecord(Record):
    """How the golden trace was recorded."""

    stimulus: str
    steps: int
    batch: int
    seed: int


class Source(Record):
    """Where a model came from, for people. The source is not read again.

    For a file of another framework, ``left_behind`` lists what was not imported, and ``notes`` are the importer's remarks.
    """

    kind: Literal["neuron", "file", "import", "object"]
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    sha256: str | None = None
    left_behind: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Snapped(Record):
    """How much rounding to a grid (``snap_bits``) changed the weights of one connection."""

    connection: str
    bits: int
    largest_change: float
    changed: int
    weights: int


class ParameterRecord(Record):
    """A parameter in readable form: its value if it is one number, otherwise its shape and range."""

    shape: tuple[int, ...] = ()
    value: float | str | None = None
    smallest: float | str | None = None
    largest: float | str | None = None

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.value:g}" if isinstance(self.value, float) else self.value
        bounds = [f"{bound:g}" if isinstance(bound, float) else bound for bound in (self.smallest, self.largest)]
        return f"{list(self.shape)}, {bounds[0]} to {bounds[1]}" if None not in bounds else f"{list(self.shape)}"


class Manifest(Record):
    """What a host must know before it opens the other files of a bundle.

    ``structure`` and ``parameters`` are None in a bundle of schema 1. ``golden`` is None if the bundle has no golden trace.
    ``formats`` has a section for each format, such as its opset or its CPU. ``plan`` describes the order in which the
    sequence files run the parts of a network.
    """

    schema_version: Literal[1, 2] = SCHEMA
    name: str
    source: Source
    structure: Structure | None = None
    contract: Contract
    parameters: dict[str, ParameterRecord] | None = None
    golden: GoldenRecord | None
    files: dict[str, FileRecord]
    formats: dict[str, dict[str, Any]] = Field(default_factory=dict)
    snapped: tuple[Snapped, ...] = ()
    readout: Readout | None = None
    plan: tuple[str, ...] = ()
    written_by: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest of this schema or an earlier one.

        Raises InvalidInput if it is missing, damaged, or of a newer schema.
        """
        try:
            raw = read_json(path.read_bytes())
        except FileNotFoundError:
            raise InvalidInput(f"{path.parent} is not a bundle: it has no {MANIFEST}") from None
        except (ValueError, OSError) as error:
            raise InvalidInput(f"{path} is damaged: {error}") from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise InvalidInput(
                f"{path} has schema {version}, but this deploy_snn reads only up to {SCHEMA}: install a newer deploy_snn"
            )
        try:
            return cls.model_validate_json(json.dumps(_upgraded(raw)))
        except ValidationError as error:
            raise InvalidInput(f"{path} is damaged: {first_problem(error)}") from None
        except ValueError as error:
            raise InvalidInput(f"{path} is damaged: {error}") from None


def _upgraded(raw: Any) -> Any:
    """Convert a manifest of schema 1 to the sections of schema 2, and its contract to the current version."""
    if not isinstance(raw, dict):
        return raw
    upgraded = dict(raw)
    if "contract" in raw:
        upgraded["contract"] = upgrade_contract(raw["contract"], CONTRACT_VERSION)
    if raw.get("schema_version") == 1:
        onnx = {"opset": upgraded.pop("onnx_opset", None), "ir_version": upgraded.pop("onnx_ir_version", None)}
        cpu = upgraded.pop("compiled_for", None)
        upgraded["formats"] = ({"onnx": onnx} if onnx["opset"] else {}) | ({"aoti": {"cpu": cpu}} if cpu else {})
    return upgraded
