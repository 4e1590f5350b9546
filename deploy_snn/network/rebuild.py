"""A program's structure as data, and the program rebuilt from that data: without the file that once defined it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deploy_snn.errors import InvalidInput
from deploy_snn.network.connection import Connection
from deploy_snn.network.network import Network
from deploy_snn.neurons import NeuronProgram, Nodes, keywords
from deploy_snn.program import Program
from deploy_snn.registry import CONNECTIONS, GRADED_NEURONS, NEURONS
from deploy_snn.structure import ConnectionRecord, LayerRecord, ModuleRecord, Structure
from deploy_snn.tensors import Arrays

Classes = Mapping[str, type]
"""A user's own classes, by name."""

PLAIN = (bool, int, float, str, type(None))


def structure_of(program: Program) -> Structure:
    """The structure of a neuron or a network. Raises InvalidInput for a class that cannot be described."""
    if isinstance(program, NeuronProgram):
        return Structure(kind="neuron", neuron=ModuleRecord(**_described(program.neuron)))
    if not isinstance(program, Network):
        raise InvalidInput(f"{type(program).__name__} is neither a neuron nor a Network, and cannot be exported")
    return Structure(
        kind="network",
        layers=tuple(
            LayerRecord(name=layer.name, external=layer.external, **_described(layer.neuron))
            for layer in program.layers.values()
        ),
        connections=tuple(
            ConnectionRecord(source=connection.source, target=connection.target, **_described(connection))
            for connection in program.connections
        ),
        one_step=program.one_step,
        record=tuple(program.record),
    )


def rebuild_program(structure: Structure, parameters: Arrays, classes: Classes | None = None) -> Program:
    """Build a program from its structure, with the saved parameters in place of what the constructors compute or draw.

    ``classes`` are the user's own. Raises InvalidInput for a class that is unknown, or parameters that do not fit.
    """
    classes = classes or {}
    program: Program
    if structure.neuron is not None:
        program = NeuronProgram(
            _rebuilt_neuron(structure.neuron, parameters, "neuron.", structure.neuron.class_name, classes)
        )
    else:
        network = Network(one_step=structure.one_step, record=structure.record)
        for layer in structure.layers:
            neuron = _rebuilt_neuron(layer, parameters, f"layers.{layer.name}.neuron.", f"layer '{layer.name}'", classes)
            network.add_layer(neuron, layer.name, external=layer.external)
        for place, record in enumerate(structure.connections):
            what = f"connection '{record.source}' to '{record.target}'"
            connection = _rebuilt(record, parameters, f"connections.{place}.", what, classes)
            if not isinstance(connection, Connection):
                raise InvalidInput(f"{what}: {record.class_name} is no connection")
            network.add_connection(connection, record.source, record.target)
        program = network
    restore_parameters(program, parameters)
    return program


def restore_parameters(program: Program, parameters: Arrays) -> None:
    """Put saved parameters into a program. Raises InvalidInput if some are missing, or belong to nothing."""
    missing = sorted(program.state_dict().keys() - parameters.keys())
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


def constructor_keywords(cls: type) -> list[str]:
    """The keywords that a neuron's or a connection's constructor takes."""
    if issubclass(cls, Nodes):
        return list(keywords(cls))
    return [name for name in inspect.signature(cls).parameters if name != "self"]


def _described(module: nn.Module) -> dict[str, Any]:
    """A module's class, and those of its constructor's keywords that are no buffers, read from attributes of their names."""
    cls = type(module)
    buffers = module._buffers  # noqa: SLF001  (named_buffers() leaves out those that are None)
    if isinstance(module, Connection) and (own := module.structure_options()) is not None:
        return {"class_name": cls.__name__, "options": own, "user_defined": _built_in(cls.__name__) is not cls}
    options: dict[str, Any] = {}
    for name in constructor_keywords(cls):
        if name in buffers or (name == "n" and isinstance(module, Nodes)):
            continue
        if isinstance(module, Nodes) and name == "dt":
            options["dt"] = module.dt_in_ms()
            continue
        if not hasattr(module, name):
            raise InvalidInput(
                f"{cls.__name__} does not keep its keyword '{name}': set self.{name} in __init__, so that it can be rebuilt"
            )
        options[name] = _plain(getattr(module, name), cls, name)
    if isinstance(module, Nodes):
        options["dt"] = module.dt_in_ms()
    return {"class_name": cls.__name__, "options": options, "user_defined": _built_in(cls.__name__) is not cls}


def _plain(value: Any, cls: type, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item, cls, name) for item in value]
    if not isinstance(value, PLAIN):
        raise InvalidInput(
            f"{cls.__name__}: its keyword '{name}' is a {type(value).__name__}; a bundle keeps numbers, text and lists of them; "
            "register a tensor as a buffer of this name"
        )
    return value


def _built_in(class_name: str) -> type | None:
    for registry in (NEURONS, GRADED_NEURONS, CONNECTIONS):
        found: type | None = registry.by_attribute(class_name)
        if found is not None:
            return found
    return None


def _rebuilt_neuron(record: ModuleRecord, parameters: Arrays, prefix: str, what: str, classes: Classes) -> Nodes:
    neuron = _rebuilt(record, parameters, prefix, what, classes)
    if not isinstance(neuron, Nodes):
        raise InvalidInput(f"{what}: {record.class_name} is no neuron")
    return neuron


def _rebuilt(record: ModuleRecord, parameters: Arrays, prefix: str, what: str, classes: Classes) -> nn.Module:
    cls = classes.get(record.class_name) if record.user_defined else _built_in(record.class_name)
    if cls is None and record.user_defined:
        raise InvalidInput(
            f"{what} is of the class {record.class_name}, which is none of deploy_snn's: name the Python file that defines it "
            "(definition=FILE)"
        )
    if cls is None:
        raise InvalidInput(f"{what} is of the unknown class {record.class_name}: install a newer deploy_snn")
    saved = {
        name.removeprefix(prefix): torch.from_numpy(array.copy())
        for name, array in parameters.items()
        if name.startswith(prefix)
    }
    known = constructor_keywords(cls)
    tensors = {name: value for name, value in saved.items() if name in known and name not in record.options}
    try:
        if issubclass(cls, Connection) and (connection := cls.from_structure(record.options, saved)) is not None:
            return connection
        rebuilt: nn.Module = cls(**record.options, **tensors)
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{what}: {record.class_name} cannot be rebuilt: {error}") from None
    return rebuilt
