"""Describe a program's structure as data, and rebuild the program from it, without the file that defined it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deploy_snn.errors import InvalidInput
from deploy_snn.learning import Rule, RuleOptions
from deploy_snn.network.connection import Connection, PlasticConnection
from deploy_snn.network.network import Network
from deploy_snn.neurons import NeuronProgram, Nodes, keywords
from deploy_snn.program import Program
from deploy_snn.registry import CONNECTIONS, GRADED_NEURONS, NEURONS, RULES
from deploy_snn.structure import ConnectionRecord, LayerRecord, ModuleRecord, Structure
from deploy_snn.tensors import Arrays

Classes = Mapping[str, type]
"""A user's own classes, by name."""

PLAIN = (bool, int, float, str, type(None))


def structure_of(program: Program) -> Structure:
    """Describe a neuron or a network. Raises InvalidInput for a class that cannot be described."""
    if isinstance(program, NeuronProgram):
        return Structure(kind="neuron", neuron=ModuleRecord(**_described(program.neuron)))
    if not isinstance(program, Network):
        raise InvalidInput(f"{type(program).__name__} cannot be exported; expected a neuron or a Network")
    return Structure(
        kind="network",
        layers=tuple(
            LayerRecord(name=layer.name, external=layer.external, **_described(layer.neuron))
            for layer in program.layers.values()
        ),
        connections=tuple(
            ConnectionRecord(
                source=connection.source,
                target=connection.target,
                rule=_described_rule(connection),
                **_described(connection),
            )
            for connection in program.connections
        ),
        one_step=program.one_step,
        record=tuple(program.record),
    )


def rebuild_program(structure: Structure, parameters: Arrays, classes: Classes | None = None) -> Program:
    """Build a program from its structure and its saved parameters.

    ``classes`` are the user's own classes. Raises InvalidInput for an unknown class, and for parameters that do not fit.
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
        for index, record in enumerate(structure.connections):
            what = f"connection '{record.source}' to '{record.target}'"
            connection = _rebuilt_connection(record, parameters, f"connections.{index}.", what, classes)
            if not isinstance(connection, Connection):
                raise InvalidInput(f"{what}: {record.class_name} is not a connection class")
            network.add_connection(connection, record.source, record.target)
        program = network
    restore_parameters(program, parameters)
    return program


def restore_parameters(program: Program, parameters: Arrays) -> None:
    """Load saved parameters into a program. Raises InvalidInput for missing and for unknown parameters."""
    missing = sorted(program.state_dict().keys() - parameters.keys())
    if missing:
        raise InvalidInput(f"parameters are missing: {', '.join(missing)}")
    for name, array in parameters.items():
        owner, _, leaf = name.rpartition(".")
        try:
            buffers = program.get_submodule(owner)._buffers  # noqa: SLF001  (state_dict skips buffers that are None)
        except AttributeError:
            buffers = {}
        if leaf not in buffers:
            raise InvalidInput(f"unknown parameter '{name}'; the model does not have it")
        buffers[leaf] = torch.from_numpy(array.copy())


def constructor_keywords(cls: type) -> list[str]:
    """The keywords of the constructor of a neuron, a connection or a rule."""
    if issubclass(cls, Nodes):
        return list(keywords(cls))
    if issubclass(cls, Rule):
        own = [
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        return [*own, *RuleOptions.__annotations__]
    return [name for name in inspect.signature(cls).parameters if name != "self"]


def _described(module: nn.Module) -> dict[str, Any]:
    """A module's class, and the constructor's keywords that are not buffers, read from the attributes of these names."""
    cls = type(module)
    buffers = module._buffers  # noqa: SLF001  (named_buffers() skips those that are None)
    if isinstance(module, Connection) and (declared := module.structure_options()) is not None:
        return {"class_name": cls.__name__, "options": declared, "user_defined": _built_in(cls.__name__) is not cls}
    options: dict[str, Any] = {}
    for name in constructor_keywords(cls):
        if name in buffers or (name == "n" and isinstance(module, Nodes)):
            continue
        if name == "rule" and isinstance(module, PlasticConnection):  # a record of its own
            continue
        if isinstance(module, Nodes) and name == "dt":
            options["dt"] = module.dt_in_ms()
            continue
        if not hasattr(module, name):
            raise InvalidInput(
                f"{cls.__name__} has no attribute for its keyword '{name}'; "
                f"set self.{name} in __init__, so that it can be rebuilt"
            )
        options[name] = _plain(getattr(module, name), cls, name)
    if isinstance(module, Nodes):
        options["dt"] = module.dt_in_ms()
    return {"class_name": cls.__name__, "options": options, "user_defined": _built_in(cls.__name__) is not cls}


def _described_rule(connection: Connection) -> ModuleRecord | None:
    rule = connection.rule if isinstance(connection, PlasticConnection) else None
    return None if rule is None else ModuleRecord(**_described(rule))


def _plain(value: Any, cls: type, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item, cls, name) for item in value]
    if not isinstance(value, PLAIN):
        raise InvalidInput(
            f"{cls.__name__}: keyword '{name}' is a {type(value).__name__}; expected a number, a string or a list of them. "
            "If it is a tensor, register it as a buffer of this name"
        )
    return value


def _built_in(class_name: str) -> type | None:
    for registry in (NEURONS, GRADED_NEURONS, CONNECTIONS, RULES):
        found: type | None = registry.by_attribute(class_name)
        if found is not None:
            return found
    return None


def _rebuilt_neuron(record: ModuleRecord, parameters: Arrays, prefix: str, what: str, classes: Classes) -> Nodes:
    neuron = _rebuilt(record, parameters, prefix, what, classes)
    if not isinstance(neuron, Nodes):
        raise InvalidInput(f"{what}: {record.class_name} is not a neuron class")
    return neuron


def _rebuilt_connection(
    record: ConnectionRecord, parameters: Arrays, prefix: str, what: str, classes: Classes
) -> nn.Module:
    if record.rule is None:
        return _rebuilt(record, parameters, prefix, what, classes)
    rule = _rebuilt(record.rule, parameters, f"{prefix}rule.", f"the learning rule of {what}", classes)
    if not isinstance(rule, Rule):
        raise InvalidInput(f"{what}: {record.rule.class_name} is not a learning rule")
    with_rule = ModuleRecord(
        class_name=record.class_name, options={**record.options, "rule": rule}, user_defined=record.user_defined
    )
    return _rebuilt(with_rule, parameters, prefix, what, classes)


def _rebuilt(record: ModuleRecord, parameters: Arrays, prefix: str, what: str, classes: Classes) -> nn.Module:
    cls = classes.get(record.class_name) if record.user_defined else _built_in(record.class_name)
    if cls is None and record.user_defined:
        raise InvalidInput(
            f"{what}: {record.class_name} is not a class of deploy_snn; "
            "pass the Python file that defines it (definition=FILE)"
        )
    if cls is None:
        raise InvalidInput(f"{what}: unknown class {record.class_name}: install a newer deploy_snn")
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
