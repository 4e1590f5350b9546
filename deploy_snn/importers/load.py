"""Loading a model by its name or its file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_snn.bundle import Source
from deploy_snn.definition import build_program
from deploy_snn.errors import InvalidInput
from deploy_snn.importers.importer import Importer
from deploy_snn.importers.torch_modules import read_module
from deploy_snn.importers.unsupported import unsupported_file
from deploy_snn.model_name import DEFINITION, names_a_file
from deploy_snn.neurons import NeuronProgram, Nodes, find_neuron, keywords
from deploy_snn.program import Program
from deploy_snn.registry import IMPORTERS


@dataclass(frozen=True)
class Loaded:
    """A model's short name, its program, and where it came from."""

    name: str
    program: Program
    source: Source


def load_model(model: str | Path, options: dict[str, Any] | None = None) -> Loaded:
    """Load a neuron class by its name, a Python file with ``build()``, or a file of another framework.

    ``options`` are keywords of the class, of ``build()``, or of the importer. Raises InvalidInput for an unknown name, a
    file that cannot be read, and options that do not fit.
    """
    options = options or {}
    if not names_a_file(str(model)):
        name, cls = find_neuron(str(model))
        neuron = construct_neuron(cls, options)
        return Loaded(name, NeuronProgram(neuron), Source(kind="neuron", name=cls.__name__, options=_shown(options)))
    path = Path(model)
    if path.suffix == DEFINITION:
        program = build_program(path, options)
        return Loaded(path.stem, program, Source(kind="file", name=path.name, options=options, sha256=_sha256(path)))
    imported = find_importer(path).read(path, options)
    source = Source(
        kind="import",
        name=path.name,
        options=options,
        sha256=_sha256(path),
        left_behind=imported.left_behind,
        notes=imported.notes,
    )
    return Loaded(path.stem, imported.network, source)


def load_module(module: nn.Module, options: dict[str, Any] | None = None) -> Loaded:
    """Read a live torch module; ``options`` are those of the reader. Raises InvalidInput for what cannot be read."""
    options = options or {}
    imported = read_module(module, options)
    name = type(module).__name__
    source = Source(kind="object", name=name, options=options, left_behind=imported.left_behind, notes=imported.notes)
    return Loaded(name, imported.network, source)


def find_importer(path: Path) -> Importer:
    """The importer that recognises a file by its content.

    Raises InvalidInput if the file does not exist; if no importer recognises it, saying what it is and what to do instead.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} is a folder; expected a file" if path.is_dir() else f"{path} does not exist")
    for name in IMPORTERS:
        importer: Importer = IMPORTERS[name]()
        try:
            if importer.recognises(path):
                return importer
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
    raise unsupported_file(path, list(IMPORTERS))


def construct_neuron(cls: type[Nodes], options: dict[str, Any]) -> Nodes:
    """A neuron from plain data; lists become tensors. Raises InvalidInput for an unknown keyword."""
    unknown = options.keys() - keywords(cls).keys()
    if unknown:
        raise InvalidInput(f"{cls.__name__} has no option {', '.join(sorted(unknown))}; it has {', '.join(keywords(cls))}")
    values: dict[str, Any] = {
        name: torch.tensor(value) if isinstance(value, list) and name != "shape" else value
        for name, value in options.items()
    }
    return cls(**values)


def _shown(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in options.items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
