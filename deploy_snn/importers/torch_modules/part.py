"""The role of a module in a network: neurons, a connection, a normalisation, a container, or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deploy_snn.network import Connection
from deploy_snn.neurons import Nodes


@dataclass(frozen=True)
class Container:
    """A container: modules by name, which are applied one after the other."""

    children: Sequence[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Neurons:
    """A population: a class and its keywords without shape and dt.

    ``dt`` is in ms; None for frameworks without a dt. ``owns_state`` says whether the module itself stores its state.
    """

    cls: type[Nodes]
    options: dict[str, Any] = field(default_factory=dict)
    dt: float | None = None
    owns_state: bool = True


@dataclass(frozen=True)
class Link:
    """A connection, the number of axes of its input (None for any), and the torch function that it replaces."""

    connection: Connection
    axes: int | None
    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Normalisation:
    """``scale * z + shift`` for each channel, in float64, and the numbers of axes that its input may have."""

    scale: Tensor
    shift: Tensor
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Dropped:
    """A module that does nothing in eval mode. ``note`` describes it."""

    note: str = ""


Part = Container | Neurons | Link | Normalisation | Dropped

PROBES = torch.cat([torch.linspace(-3, 3, 241), torch.tensor([-1e-6, 0.0, 1e-6])])


def is_step_function(function: Callable[[Tensor], Tensor], *, inclusive: bool) -> bool:
    """Whether a surrogate's forward is the step function, and not a smooth, scaled or random one.

    ``inclusive`` is whether it is 1 at 0.
    """
    with torch.no_grad():
        found = function(PROBES.clone())
    return torch.equal(found.float(), (PROBES >= 0 if inclusive else PROBES > 0).float())


def children_of(module: nn.Module) -> Container:
    """The children of a sequence. Unlike ``named_children``, it includes repeated modules."""
    return Container(tuple((name, child) for name, child in module._modules.items() if child is not None))  # noqa: SLF001


def own_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module; for a parametrized module, the class that it had before torch wrapped it."""
    cls = type(module)
    return cls.__mro__[1] if cls.__module__ == "torch.nn.utils.parametrize" else cls


def as_float32(value: Tensor | float) -> Tensor:
    """A parameter, detached, on the CPU."""
    return torch.as_tensor(value).detach().to("cpu", torch.float32)
