"""The structure of a model as data. The eager program is rebuilt from it, without the user's file."""

from typing import Any, Literal

from pydantic import Field

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
    """A connection between two layers of a network."""

    source: str
    target: str


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
        modules = [*([self.neuron] if self.neuron else []), *self.layers, *self.connections]
        return sorted({module.class_name for module in modules if module.user_defined})
