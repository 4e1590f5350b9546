"""What every connection is, and the simple ones: dense, one to one, lateral, mean field."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from deploy_snn.contract import TensorSpec
from deploy_snn.errors import InvalidInput

Exactness = Literal["never", "sums", "spikes", "always"]


class Connection(nn.Module, ABC):
    """Turns the spikes of a source, ``z`` ``[B, *source]`` of 0.0 and 1.0, into a drive for a target, ``[B, *target]``.

    A graded source sends other numbers than these two. A connection with a memory (``STATES``) reads it from the network's
    state and writes the next one; one with ``TAKES_NOISE`` has a ``noise`` input among the network's.

    Whether all runtimes compute the same bits is never assumed. A class declares in ``EXACT`` what it can prove; a class that
    declares nothing is inexact, and so is a subclass that changes the equations and does not declare it anew.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = ()
    EXACT: ClassVar[Exactness] = "never"
    """When every runtime computes the same bits: for spikes; for spikes and numbers ("always"); or for spikes where the sums of
    ``summed_weights`` are exact ("sums")."""
    TAKES_NOISE: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.source = ""
        self.target = ""
        self.source_shape: tuple[int, ...] = (1,)
        self.target_shape: tuple[int, ...] = (1,)
        self.n_source = self.n_target = 1

    def attach(self, source: str, source_shape: tuple[int, ...], target: str, target_shape: tuple[int, ...]) -> None:
        """Take a place in a network. Raises InvalidInput if the shapes do not fit, with those that would."""
        if self.name:
            raise InvalidInput(f"this {type(self).__name__} connects {self.name} already: create another one")
        self.name = f"{source}_to_{target}"
        self.source, self.target = source, target
        self.source_shape, self.target_shape = source_shape, target_shape
        self.n_source, self.n_target = math.prod(source_shape), math.prod(target_shape)
        problem = self.shape_error()
        if problem:
            self.name = ""
            raise InvalidInput(
                f"{type(self).__name__} from '{source}' {list(source_shape)} to '{target}' {list(target_shape)}: {problem}"
            )

    @abstractmethod
    def shape_error(self) -> str:
        """What is wrong with the shapes this connection has been given, or nothing."""

    @abstractmethod
    def transmit(self, z: Tensor) -> Tensor:
        """The drive that spikes make, ``[B, *source]`` to ``[B, *target]``."""

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        """The drive; a connection with a memory also puts its next state into ``after``."""
        return self.transmit(z)

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """The drive of every step of a sequence at once: ``[T, B, *source]`` to ``[T, B, *target]``."""
        steps = z.shape[0]
        return self.transmit(z.flatten(0, 1)).reshape([steps, -1, *self.target_shape])

    def noise(self) -> TensorSpec:
        """The noise that it takes at each step. Raises NotImplementedError for one that does not draw."""
        raise NotImplementedError

    def resting_state(self) -> dict[str, Tensor]:
        """The memory before the first step, without a batch axis."""
        state: dict[str, Tensor] = {}
        return state

    def extra_repr(self) -> str:
        """The layers that it connects, and the shapes of its buffers."""
        ends = [f"{self.source!r} -> {self.target!r}"] if self.name else []
        return ", ".join([*ends, *(f"{name}={list(buffer.shape)}" for name, buffer in self.named_buffers())])

    def structure_options(self) -> dict[str, Any] | None:
        """What ``from_structure`` takes besides the buffers, as plain data; None where that is the constructor's keywords."""
        return None

    @classmethod
    def from_structure(cls, options: dict[str, Any], buffers: dict[str, Tensor]) -> Self | None:
        """Rebuild a connection from ``structure_options`` and buffers; None where the constructor does it."""
        return None

    def summed_weights(self) -> list[Tensor]:
        """The buffers whose elements a drive adds up, such as ``[w, b]``; [] for a class that declares none."""
        return []

    def largest_sums(self) -> Tensor | None:
        """For each target neuron the largest absolute sum of its ``summed_weights``, float64 ``[M]``; None if undeclared."""
        return None

    def flat(self, z: Tensor) -> Tensor:
        """``[B, *source]`` as ``[B, N]``."""
        return z if len(self.source_shape) == 1 else z.reshape([-1, self.n_source])

    def shaped(self, drive: Tensor) -> Tensor:
        """``[B, M]`` as ``[B, *target]``."""
        return drive if len(self.target_shape) == 1 else drive.reshape([-1] + list(self.target_shape))


def weights(name: str, value: Tensor | float | Sequence[float]) -> Tensor:
    """Weights as a float32 tensor of their own. Raises InvalidInput for anything but finite numbers."""
    try:
        tensor = torch.as_tensor(value).detach().to(torch.float32, copy=True)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(f"{name}: expected numbers or a tensor, and not {type(value).__name__}") from None
    if not tensor.isfinite().all():
        raise InvalidInput(f"{name} holds NaN or an infinity")
    return tensor


class Dense(Connection):
    """All to all: ``drive = z @ w + b``.

    Args:
        w: weights ``[N, M]``, source by target, in mV.
        b: bias ``[M]``, in mV, or None.
    """

    EXACT: ClassVar[Exactness] = "sums"

    w: Tensor
    b: Tensor | None

    def __init__(self, w: Tensor, b: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("w", weights("w", w))
        self.register_buffer("b", None if b is None else weights("b", b))

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> Self:
        """The connection of a trained ``torch.nn.Linear``, bias included. Raises InvalidInput for another module."""
        if not isinstance(linear, nn.Linear):
            raise InvalidInput(f"from_linear({type(linear).__name__}): expected a torch.nn.Linear")
        return cls(linear.weight.detach().T, None if linear.bias is None else linear.bias.detach())

    def shape_error(self) -> str:
        n, m = math.prod(self.source_shape), math.prod(self.target_shape)
        if list(self.w.shape) != [n, m]:
            return f"w is {list(self.w.shape)}, expected [{n}, {m}]"
        if self.b is not None and list(self.b.shape) != [m]:
            return f"b is {list(self.b.shape)}, expected [{m}]"
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        drive = self.flat(z) @ self.w
        b = self.b
        if b is not None:
            drive = drive + b
        return self.shaped(drive)

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        if len(self.source_shape) == len(self.target_shape) == 1:
            return self.transmit(z)  # matmul broadcasts over leading axes
        return super().over_time(z, inputs)

    def summed_weights(self) -> list[Tensor]:
        return [self.w] if self.b is None else [self.w, self.b]

    def largest_sums(self) -> Tensor | None:
        bias = torch.zeros(()) if self.b is None else self.b.double().abs()
        return self.w.double().abs().sum(0) + bias


class OneToOne(Connection):
    """Each neuron to its counterpart: ``drive = w * z``. A diagonal, without the matrix.

    Args:
        w: a weight, or weights that broadcast to the target's shape, in mV.
    """

    EXACT: ClassVar[Exactness] = "always"

    w: Tensor

    def __init__(self, w: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("w", weights("w", w))

    def shape_error(self) -> str:
        if self.source_shape != self.target_shape:
            return "one to one needs equal shapes"
        try:
            self.w.expand(self.target_shape)
        except RuntimeError:
            return f"w is {list(self.w.shape)}, expected one number or {list(self.target_shape)}"
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        return z * self.w


class Reshape(Connection):
    """The same values in another shape of as many: ``drive = z``."""

    EXACT: ClassVar[Exactness] = "always"

    def shape_error(self) -> str:
        n, m = math.prod(self.source_shape), math.prod(self.target_shape)
        return "" if n == m else f"{n} values cannot take a shape of {m}"

    def transmit(self, z: Tensor) -> Tensor:
        return z.reshape([-1] + list(self.target_shape))

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        # Not by way of [T * B, ...]: of one view of a view torch.export cannot tell that it holds for every batch.
        flat = z.flatten(2)
        return flat if len(self.target_shape) == 1 else torch.unflatten(flat, 2, self.target_shape)


class Lateral(Connection):
    """The same weight to all but oneself: ``drive = w * (sum(z) - z)``. O(N), where the matrix is O(N * N).

    The sum of spikes is a whole number, and so exact. Source and target have the same shape.

    Args:
        w: the weight, in mV.
    """

    EXACT: ClassVar[Exactness] = "spikes"

    w: Tensor

    def __init__(self, w: float) -> None:
        super().__init__()
        self.register_buffer("w", weights("w", w))

    def shape_error(self) -> str:
        if self.source_shape != self.target_shape:
            return "lateral connections need equal shapes"
        return "" if self.w.dim() == 0 else f"w is {list(self.w.shape)}, expected one number"

    def transmit(self, z: Tensor) -> Tensor:
        return self.w * (z.sum([axis + 1 for axis in range(len(self.source_shape))], keepdim=True) - z)


class MeanField(Connection):
    """Every target sees the mean of the source: ``drive = mean(z) * w``, each batch row its own mean.

    Args:
        w: a weight, or weights that broadcast to the target's shape, in mV.
    """

    EXACT: ClassVar[Exactness] = "spikes"

    w: Tensor

    def __init__(self, w: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("w", weights("w", w))

    def shape_error(self) -> str:
        try:
            self.w.expand(self.target_shape)
        except RuntimeError:
            return f"w is {list(self.w.shape)}, expected one number or {list(self.target_shape)}"
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        # The whole number of spikes over the whole number of neurons: one rounding, the same in every runtime.
        mean = self.flat(z).sum(1) / float(self.n_source)
        return mean.reshape([-1] + [1] * len(self.target_shape)) * self.w.expand(self.target_shape)
