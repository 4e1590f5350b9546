"""The structure of a model as data. The eager program is rebuilt from it, without the user's file."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from deploy_snn.contract import Record


class ModuleRecord(Record):
    """A neuron or a connection: its class, and the constructor's keywords that are not tensors.

    Its tensors are in the bundle's parameters. A ``user_defined`` class is not part of this toolkit. Rebuilding it needs
    the Python file that defines it.
    """

    class_name: str
    options: dict[str, Any] = Field(default_factory=dict)
    user_defined: bool = False


class LayerRecord(ModuleRecord):
    """A layer of a network."""

    name: str
    external: bool = False


class ConnectionRecord(ModuleRecord):
    """A connection between two layers of a network, with its learning rule, if any."""

    source: str
    target: str
    rule: ModuleRecord | None = None

    @model_serializer(mode="wrap")
    def _without_an_absent_rule(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A bundle of a network without rules stays readable for versions that know none.
        fields: dict[str, Any] = serialise(self)
        return {name: value for name, value in fields.items() if name != "rule" or value is not None}


class Structure(Record):
    """A single neuron class, or a network: layers and connections in the order in which they were added."""

    kind: Literal["neuron", "network"]
    neuron: ModuleRecord | None = None
    layers: tuple[LayerRecord, ...] = ()
    connections: tuple[ConnectionRecord, ...] = ()
    one_step: bool = False
    record: tuple[str, ...] = ()

    @property
    def user_defined(self) -> list[str]:
        """The names of the classes that are defined in the user's own file."""
        rules = [connection.rule for connection in self.connections if connection.rule is not None]
        modules = [*([self.neuron] if self.neuron else []), *self.layers, *self.connections, *rules]
        return sorted({module.class_name for module in modules if module.user_defined})
