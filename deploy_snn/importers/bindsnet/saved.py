"""What a pickle describes, as inert records: no class is looked up, nothing is called, no tensor is made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

GROUPS = ("_parameters", "_buffers", "_modules")
"""Where a torch module keeps what it shows as its attributes."""


@dataclass(frozen=True)
class Name:
    """A class or a function of a file, by its name alone."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Saved:
    """An object as the attributes that it was saved with; a tensor is read from the file when it is asked for."""

    of: Name
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getattr__(self, name: str) -> Any:
        attributes = vars(self).get("attributes", {})
        for held in (attributes, *(attributes.get(group) for group in GROUPS)):
            if isinstance(held, dict) and name in held:
                value = held[name]
                return value.tensor if isinstance(value, SavedTensor) else value
        raise AttributeError(name)


class SavedTensor:
    """A tensor that the file describes. ``read`` checks the description, and may refuse it."""

    def __init__(self, read: Callable[[], Tensor]) -> None:
        self._read = read
        self._made: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        if self._made is None:
            self._made = self._read()
        return self._made


def name_of(thing: object) -> Name:
    """The class of an object, be it alive or saved."""
    return thing.of if isinstance(thing, Saved) else Name(type(thing).__module__, type(thing).__name__)
