"""The contents of a pickle as plain records: no class is imported, nothing is called, and no tensor is created."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

GROUPS = ("_parameters", "_buffers", "_modules")
"""The dictionaries in which a torch module stores attributes."""


@dataclass(frozen=True)
class Name:
    """The name of a class or a function that a file refers to."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Record(ABC):
    """An object whose state follows later in the pickle."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Set the state. Raises TypeError or ValueError if it is invalid for this object."""


@dataclass(eq=False)
class Saved(Record):
    """The saved attributes of an object. A tensor is read from the file when it is first used."""

    of: Name
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError
        self.attributes.update(state)

    def __getattr__(self, name: str) -> Any:
        value = self._find(name)
        return value.value if isinstance(value, Lazy) else value

    def dense(self, name: str) -> Tensor:
        """A tensor attribute that may be stored sparsely, as a dense tensor."""
        value = self._find(name)
        if isinstance(value, SavedTensor):
            return value.dense
        raise AttributeError(name)

    def _find(self, name: str) -> Any:
        attributes = vars(self).get("attributes", {})
        for held in (attributes, *(attributes.get(group) for group in GROUPS)):
            if isinstance(held, dict) and name in held:
                return held[name]
        raise AttributeError(name)


class Lazy(ABC):
    """A value that is computed at its first use."""

    @property
    @abstractmethod
    def value(self) -> Any: ...


class SavedTensor(Lazy):
    """A tensor that the file describes.

    ``read`` checks the description, and may raise InvalidInput; ``read_dense`` gives the dense form of a sparse tensor.
    """

    def __init__(self, read: Callable[[], Tensor], read_dense: Callable[[], Tensor] | None = None) -> None:
        self._read = read
        self._read_dense = read_dense
        self._value: Tensor | None = None
        self._dense: Tensor | None = None

    @property
    def value(self) -> Tensor:
        if self._value is None:
            self._value = self._read()
        return self._value

    @property
    def dense(self) -> Tensor:
        if self._dense is None:
            self._dense = self.value if self._read_dense is None else self._read_dense()
        return self._dense


def name_of(thing: object) -> Name:
    """Return the class of an object, live or saved."""
    return thing.of if isinstance(thing, Saved) else Name(type(thing).__module__, type(thing).__name__)
