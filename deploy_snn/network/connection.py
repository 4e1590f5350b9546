"""The base class of all connections, and the simple ones: dense, one to one, reshape, lateral, mean field."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from deploy_snn.contract import Axis, Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.learning import Rule
from deploy_snn.learning.synapses import DenseSynapses, Synapses

Exactness = Literal["never", "sums", "spikes", "always"]


class Connection(nn.Module, ABC):
    """Turns the spikes of a source layer into a drive for a target layer.

    Spikes are ``z`` ``[B, *source]``, 0.0 or 1.0; a graded source sends arbitrary numbers. The drive is ``[B, *target]``. A
    connection with its own state (``STATES``) reads it from the network's state and returns the next one. A connection with
    ``TAKES_NOISE`` adds a ``noise`` input to the network.

    Equal bits on all runtimes are never assumed. A class declares in ``EXACT`` what it can prove. A class without a
    declaration is inexact. So is a subclass that changes the equations without its own declaration.
    """

    STATES: ClassVar[tuple[TensorSpec, ...]] = ()
    EXACT: ClassVar[Exactness] = "never"
    """When every runtime computes the same bits: "never"; "sums", for spikes if the sums of ``summed_weights`` are exact;
    "spikes", for spikes; "always", for spikes and for numbers."""
    TAKES_NOISE: ClassVar[bool] = False

    __constants__: ClassVar[list[str]] = ["plastic", "normalises"]
    """Constants for TorchScript, which then removes the branches that are never taken."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.source = ""
        self.target = ""
        self.source_shape: tuple[int, ...] = (1,)
        self.target_shape: tuple[int, ...] = (1,)
        self.n_source = self.n_target = 1
        self.plastic = False  # whether a learning rule changes the weights; see PlasticConnection
        self.normalises = False  # whether that rule has a norm

    def attach(self, source: str, source_shape: tuple[int, ...], target: str, target_shape: tuple[int, ...]) -> None:
        """Set the source and the target layer. Raises InvalidInput, with the expected shapes, if the shapes do not fit."""
        if self.name:
            raise InvalidInput(f"this {type(self).__name__} is already connection {self.name}: create another one")
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
        """Describe what is wrong with the shapes of the weights, the source and the target; "" if they fit."""

    @abstractmethod
    def transmit(self, z: Tensor) -> Tensor:
        """Compute the drive of one step: spikes ``[B, *source]`` to ``[B, *target]``."""

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        """Compute the drive of one step. A connection with its own state also writes the next state into ``after``."""
        return self.transmit(z)

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Compute the drives of all steps of a sequence at once: ``[T, B, *source]`` to ``[T, B, *target]``."""
        steps = z.shape[0]
        return self.transmit(z.flatten(0, 1)).reshape([steps, -1, *self.target_shape])

    def noise(self) -> TensorSpec:
        """The record of its noise input. Raises NotImplementedError for a connection without noise."""
        raise NotImplementedError

    def learning_specs(self) -> list[TensorSpec]:
        """The records of the states that learning needs; [] for a connection without a rule."""
        return []

    def learning_state(self, batch: int) -> dict[str, Tensor]:
        """Those states before the first step. Raises NotImplementedError for a connection without a rule."""
        raise NotImplementedError

    def learn(
        self,
        spikes: dict[str, Tensor],
        inputs: dict[str, Tensor],
        state: dict[str, Tensor],
        after: dict[str, Tensor],
        owned: bool,
    ) -> None:
        """Write the next weights into ``after``. Raises NotImplementedError for a connection without a rule."""
        raise NotImplementedError

    def normalise(self, w: Tensor) -> Tensor:
        """Return scaled weights. Raises NotImplementedError for a connection without a rule that has a norm."""
        raise NotImplementedError

    def resting_state(self) -> dict[str, Tensor]:
        """Its state before the first step, without a batch axis."""
        state: dict[str, Tensor] = {}
        return state

    def extra_repr(self) -> str:
        """The layers that it connects, and the shapes of its buffers."""
        ends = [f"{self.source!r} -> {self.target!r}"] if self.name else []
        return ", ".join([*ends, *(f"{name}={list(buffer.shape)}" for name, buffer in self.named_buffers())])

    def structure_options(self) -> dict[str, Any] | None:
        """The options for ``from_structure``, as plain data; None if the constructor's keywords are enough."""
        return None

    @classmethod
    def from_structure(cls, options: dict[str, Any], buffers: dict[str, Tensor]) -> Self | None:  # noqa: ARG003
        """Rebuild a connection from ``structure_options`` and buffers; None if the constructor can do it."""
        return None

    def summed_weights(self) -> list[Tensor]:
        """The buffers whose elements are summed to a drive, such as ``[w, b]``; [] if the class declares none."""
        return []

    def largest_sums(self) -> Tensor | None:
        """The largest absolute sum of ``summed_weights`` for each target neuron, float64 ``[M]``; None if undeclared."""
        return None

    def flat(self, z: Tensor) -> Tensor:
        """Flatten the source's shape: ``[B, *source]`` to ``[B, N]``."""
        return z if len(self.source_shape) == 1 else z.reshape([-1, self.n_source])

    def shaped(self, drive: Tensor) -> Tensor:
        """Restore the target's shape: ``[B, M]`` to ``[B, *target]``."""
        return drive if len(self.target_shape) == 1 else drive.reshape([-1] + list(self.target_shape))


def weights(name: str, value: Tensor | float | Sequence[float]) -> Tensor:
    """Copy weights to a float32 tensor. Raises InvalidInput for anything but finite numbers."""
    try:
        tensor = torch.as_tensor(value).detach().to(torch.float32, copy=True)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(f"{name} is a {type(value).__name__}; expected numbers or a tensor") from None
    if not tensor.isfinite().all():
        raise InvalidInput(f"{name} must be finite, but holds NaN or an infinity")
    return tensor


class PlasticConnection(Connection):
    """The base class of the connections whose weights a learning rule can change.

    With a rule that learns, the weights are the network's state ``SOURCE_to_TARGET.w``, which all rows of a batch share.
    The buffer with the weights is where that state starts from. Without a rule the buffer is a constant.

    Args:
        rule: the learning rule, or None.
    """

    AXES: ClassVar[tuple[str, ...]]
    """The names of the axes of the weights. Further axes are numbered: ``kernel0``, ``kernel1``."""

    if TYPE_CHECKING:
        rule: Rule | None

    def __init__(self, rule: Rule | None = None) -> None:
        super().__init__()
        if rule is not None and not isinstance(rule, Rule):
            raise InvalidInput(
                f"rule is a {type(rule).__name__}; expected a learning rule such as PostPre(nu=(1e-4, 1e-2))"
            )
        self.rule = rule
        self.plastic = rule is not None and rule.learning
        self.normalises = self.plastic and rule is not None and rule.normalises
        self.learnt = {"w": [0]}  # the shapes of the states that learning needs, without the batch axis

    @abstractmethod
    def synapses(self) -> Synapses:
        """Which source meets which target at each weight. Called once the shapes are known."""

    @abstractmethod
    def initial_weights(self) -> Tensor:
        """The buffer with the weights."""

    @abstractmethod
    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        """Compute the drive of one step through the weights ``w``."""

    def attach_rule(self, dt: float) -> None:
        """Give the rule its synapses and the step in ms. Raises InvalidInput for numbers that do not fit the weights."""
        if self.rule is None:
            return
        shape = list(self.initial_weights().shape)
        if self.rule.normalises and self.AXES != ("source", "target"):
            raise InvalidInput(f"norm: {type(self).__name__} cannot be normalised; only a matrix of weights [N, M] can")
        self.rule.attach(self.synapses(), shape, self.source_shape, self.target_shape, dt)
        self.learnt = {"w": shape} | {spec.name: list(spec.shape(batch=1))[1:] for spec in self.rule.states()}

    def learning_specs(self) -> list[TensorSpec]:
        """The records of the states that learning needs: the weights, and the rule's own."""
        if self.rule is None or not self.plastic:
            return []
        names = [*self.AXES, *(f"kernel{i}" for i in range(self.initial_weights().dim() - len(self.AXES)))]
        axes = tuple(Axis(name=name, size=size) for name, size in zip(names, self.initial_weights().shape, strict=True))
        w = TensorSpec(name="w", role=Role.STATE, kind=Kind.WEIGHT, axes=axes, initial="w", unit="mV")
        return [spec.owned_by(self.name) for spec in (w, *self.rule.states())]

    def learning_state(self, batch: int) -> dict[str, Tensor]:
        """The states of ``learning_specs`` before the first step, without the connection's name."""
        w = self.initial_weights()
        state: dict[str, Tensor] = {}
        for name, shape in self.learnt.items():
            state[name] = torch.zeros([batch] + shape, dtype=torch.float32, device=w.device)
        state["w"] = w.clone()  # all rows share the weights
        return state

    def transmit(self, z: Tensor) -> Tensor:
        return self.transmit_through(z, self.initial_weights())

    def forward(self, z: Tensor, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        if self.plastic:
            return self.transmit_through(z, state[self.name + ".w"])
        return self.transmit(z)

    def learn(
        self,
        spikes: dict[str, Tensor],
        inputs: dict[str, Tensor],
        state: dict[str, Tensor],
        after: dict[str, Tensor],
        owned: bool,
    ) -> None:
        """Let the rule follow a step, and write the next weights into ``after``.

        Args:
            spikes: the spikes of this step by layer, 0.0 or 1.0.
            inputs: the inputs of the step.
            state: the state before the step.
            after: the next state, which already holds that of the layers.
            owned: whether the weights in ``state`` may be changed in place.
        """
        assert self.rule is not None  # TorchScript needs this to refine the type
        activity = {"source": spikes[self.source], "target": spikes[self.target]}
        if self.rule.reads_source_trace:
            activity["source_trace"] = after[self.source + ".trace"]
        if self.rule.reads_target_trace:
            activity["target_trace"] = after[self.target + ".trace"]
        if self.rule.reads_probability:
            activity["probability"] = after[self.target + ".probability"]
        if self.rule.reads_reward:
            activity["reward"] = inputs["reward"]
        own: dict[str, Tensor] = {}
        for name in self.learnt:
            own[name] = state[self.name + "." + name]
        w = own.pop("w")
        if not owned:
            w = w.clone()
        own_after = self.rule(w, activity, own)
        after[self.name + ".w"] = w
        for name in own:
            after[self.name + "." + name] = own_after[name]

    def normalise(self, w: Tensor) -> Tensor:
        """Scale the weights of each target to the rule's ``norm``."""
        assert self.rule is not None  # TorchScript needs this to refine the type
        return self.rule.normalise(w)


class Dense(PlasticConnection):
    """All to all: ``drive = z @ w + b``.

    Args:
        w: weights ``[N, M]``, source by target, in mV.
        b: bias ``[M]``, in mV, or None.
        rule: the learning rule that changes ``w``, or None.
    """

    EXACT: ClassVar[Exactness] = "sums"
    AXES: ClassVar[tuple[str, ...]] = ("source", "target")

    w: Tensor
    b: Tensor | None

    def __init__(self, w: Tensor, b: Tensor | None = None, rule: Rule | None = None) -> None:
        super().__init__(rule)
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

    def synapses(self) -> Synapses:
        return DenseSynapses()

    def initial_weights(self) -> Tensor:
        return self.w

    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        drive = self.flat(z) @ w
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
    """Each source neuron to the target neuron of the same index: ``drive = w * z``.

    Args:
        w: one weight, or weights that broadcast to the target's shape, in mV.
    """

    EXACT: ClassVar[Exactness] = "always"

    w: Tensor

    def __init__(self, w: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("w", weights("w", w))

    def shape_error(self) -> str:
        if self.source_shape != self.target_shape:
            return "the source and the target must have the same shape"
        try:
            self.w.expand(self.target_shape)
        except RuntimeError:
            return f"w is {list(self.w.shape)}, expected one number or {list(self.target_shape)}"
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        return z * self.w


class Reshape(Connection):
    """The same values in another shape: ``drive = z``. Source and target have the same number of neurons."""

    EXACT: ClassVar[Exactness] = "always"

    def shape_error(self) -> str:
        n, m = math.prod(self.source_shape), math.prod(self.target_shape)
        return "" if n == m else f"the source has {n} neurons and the target {m}; expected the same number"

    def transmit(self, z: Tensor) -> Tensor:
        return z.reshape([-1] + list(self.target_shape))

    def over_time(self, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        # Without the reshape to [T * B, ...]: torch.export cannot prove that it is valid for every batch size.
        flat = z.flatten(2)
        return flat if len(self.target_shape) == 1 else torch.unflatten(flat, 2, self.target_shape)


class Lateral(Connection):
    """The same weight from each neuron to all others: ``drive = w * (sum(z) - z)``, in O(N) instead of O(N * N).

    The sum of spikes is a whole number, and so it is exact. Source and target have the same shape.

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
            return "the source and the target must have the same shape"
        return "" if self.w.dim() == 0 else f"w is {list(self.w.shape)}, expected one number"

    def transmit(self, z: Tensor) -> Tensor:
        return self.w * (z.sum([axis + 1 for axis in range(len(self.source_shape))], keepdim=True) - z)


class MeanField(Connection):
    """The mean of the source to each target neuron: ``drive = mean(z) * w``. Each batch row has its own mean.

    Args:
        w: one weight, or weights that broadcast to the target's shape, in mV.
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
        # A division of two whole numbers rounds once, and to the same bits in every runtime.
        mean = self.flat(z).sum(1) / float(self.n_source)
        return mean.reshape([-1] + [1] * len(self.target_shape)) * self.w.expand(self.target_shape)
