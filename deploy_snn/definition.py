"""A Python file that defines a model: a function ``build()``, and the user's own classes."""

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from deploy_snn.errors import InvalidInput
from deploy_snn.learning import Rule
from deploy_snn.network import Connection
from deploy_snn.neurons import NeuronProgram, Nodes
from deploy_snn.program import Program


def run_definition(path: Path) -> ModuleType:
    """Run the file as a module. Raises InvalidInput if it does not exist or cannot be run."""
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    path_hash = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"deploy_snn_model_{path.stem}_{path_hash}", path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch.export looks up the modules of the captured classes
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def build_program(path: Path, options: dict[str, Any]) -> Program:
    """Call the file's ``build(**options)``.

    Raises InvalidInput if the function is missing, does not accept these options, fails, or returns anything but a neuron
    or a network.
    """
    build = getattr(run_definition(path), "build", None)
    if not callable(build):
        raise InvalidInput(
            f"{path} does not define build(); expected a function build() that returns a neuron or a Network"
        )
    try:
        inspect.signature(build).bind(**options)
    except TypeError as error:
        raise InvalidInput(f"{path}: build{inspect.signature(build)} does not accept these options: {error}") from None
    try:
        built = build(**options)
    except Exception as error:
        raise InvalidInput(f"{path}: build() failed: {type(error).__name__}: {error}") from error
    return as_program(built, f"{path}: build() returned a {type(built).__name__}")


def as_program(model: object, what: str) -> Program:
    """Return a neuron or a network as a program. Raises InvalidInput, starting with ``what``, for anything else."""
    if isinstance(model, Nodes):
        return NeuronProgram(model)
    if isinstance(model, Program):
        return model
    raise InvalidInput(f"{what}; expected a neuron of deploy_snn.neurons, or a Network")


def classes_in(path: Path) -> dict[str, type]:
    """The neuron, connection and rule classes that the file defines, by name. Raises the errors of ``run_definition``."""
    variables = vars(run_definition(path)).items()
    return {
        name: value for name, value in variables if inspect.isclass(value) and issubclass(value, (Nodes, Connection, Rule))
    }
