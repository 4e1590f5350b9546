"""Where a program comes from: a neuron's name, a Python file that defines ``build()``, or another framework's file."""

import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from deploy_snn.contract import Record
from deploy_snn.errors import InvalidInput
from deploy_snn.importers import IMPORTERS
from deploy_snn.neurons import NeuronProgram, Nodes, find_neuron, keywords
from deploy_snn.program import Program
from deploy_snn.tensors import Arrays


class Source(Record):
    """How to build a program again: a neuron's class or a file's path, and the options for what makes it.

    ``left_behind`` and ``notes`` are what an importer told of a file of another framework.
    """

    kind: Literal["neuron", "file", "import"]
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    sha256: str | None = None
    left_behind: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Built = tuple[str, Program, Source]
"""A model's short name, its program, and where it came from."""


def is_file(model: str) -> bool:
    """Whether MODEL on the command line means a file, by its ending."""
    return Path(model).suffix in _FILES


def load_model(model: str, options: dict[str, Any]) -> Built:
    """What MODEL means on the command line.

    Raises InvalidInput for a name that is unknown, a file that does not define ``build()`` or cannot be imported, and
    options that do not fit.
    """
    if is_file(model):
        return _FILES[Path(model).suffix](Path(model), options)
    name, cls = find_neuron(model)
    program = NeuronProgram(_construct(cls, options))
    return name, program, Source(kind="neuron", name=cls.__name__, options=structure(program.neuron))


def rebuild(source: Source, parameters: Arrays) -> Program:
    """Build a program again and put the saved parameters in. Raises InvalidInput if that cannot be done."""
    if source.kind == "neuron":
        program: Program = NeuronProgram(_construct(find_neuron(source.name)[1], source.options))
    else:
        path = Path(source.name)
        if not path.is_file():
            raise InvalidInput(
                f"the model's definition {path} is not here: compare with --stimulus golden, which needs none"
            )
        if source.sha256 != _sha256(path):
            raise InvalidInput(f"{path} has changed since the export: export again, or compare with --stimulus golden")
        program = load_model(source.name, source.options)[1]
    _restore(program, parameters)
    return program


def structure(neuron: Nodes) -> dict[str, Any]:
    """A neuron's options that are no buffers: its shape and switches. Its numbers are saved as parameters."""
    buffers = dict(neuron._buffers)  # noqa: SLF001  (named_buffers() leaves out those that are None)
    options = {name: getattr(neuron, name) for name in keywords(type(neuron)) if name not in buffers and name != "n"}
    return options | {"dt": neuron.dt_in_ms()}


def _construct(cls: type[Nodes], options: dict[str, Any]) -> Nodes:
    unknown = options.keys() - keywords(cls).keys()
    if unknown:
        raise InvalidInput(f"{cls.__name__} has no option {', '.join(sorted(unknown))}; it has {', '.join(keywords(cls))}")
    values: dict[str, Any] = {
        name: torch.tensor(value) if isinstance(value, list) and name != "shape" else value
        for name, value in options.items()
    }
    return cls(**values)


def _from_file(path: Path, options: dict[str, Any]) -> Built:
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(f"deploy_snn_model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    build = getattr(module, "build", None)
    if not callable(build):
        raise InvalidInput(f"{path} defines no build(): it needs a function build() that returns a neuron")
    try:
        inspect.signature(build).bind(**options)
    except TypeError as error:
        raise InvalidInput(f"{path}: build{inspect.signature(build)} does not take these options: {error}") from None
    try:
        built = build(**options)
    except Exception as error:
        raise InvalidInput(f"{path}: build() failed: {type(error).__name__}: {error}") from error
    program = NeuronProgram(built) if isinstance(built, Nodes) else built
    if not isinstance(program, Program):
        raise InvalidInput(f"{path}: build() returned a {type(built).__name__}; expected a neuron of deploy_snn.neurons")
    return path.stem, program, Source(kind="file", name=str(path), options=options, sha256=_sha256(path))


def _imported(path: Path, options: dict[str, Any]) -> Built:
    imported = IMPORTERS[path.suffix](path, options)
    told = {"left_behind": imported.left_behind, "notes": imported.notes}
    source = Source(kind="import", name=str(path), options=options, sha256=_sha256(path), **told)
    return path.stem, imported.network, source


_FILES: dict[str, Callable[[Path, dict[str, Any]], Built]] = {".py": _from_file, **dict.fromkeys(IMPORTERS, _imported)}


def _restore(program: Program, parameters: Arrays) -> None:
    wanted = dict(program.state_dict())
    missing = sorted(wanted.keys() - parameters.keys())
    if missing:
        raise InvalidInput(f"the saved parameters lack {', '.join(missing)}")
    for name, array in parameters.items():
        owner, _, leaf = name.rpartition(".")
        try:
            buffers = program.get_submodule(owner)._buffers  # noqa: SLF001  (a bound that was None has no other way in)
        except AttributeError:
            buffers = {}
        if leaf not in buffers:
            raise InvalidInput(f"the saved parameters hold '{name}', which the model does not have")
        buffers[leaf] = torch.from_numpy(array.copy())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
