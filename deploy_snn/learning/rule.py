"""The base class of all learning rules: rates, bounds, decay, mask, and the state that a rule keeps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor, nn

from deploy_snn.contract import TensorSpec
from deploy_snn.errors import InvalidInput
from deploy_snn.learning.synapses import Synapses

Number = float | int | Tensor

Rates = float | Sequence[float] | Tensor
"""One learning rate for both terms of a rule, or one for each."""


class RuleOptions(TypedDict, total=False):
    """The keywords that all rules have in common."""

    wmin: Number
    wmax: Number
    weight_decay: float
    norm: Number | None
    mask: Tensor | None
    learning: bool


class Rule(nn.Module, ABC):
    """Changes the weights of a connection after each step, from the spikes at its two ends.

    The rule runs after all layers have stepped. It reads the spikes of this step, and traces that include them. Then the
    weights decay, are limited to ``wmin`` and ``wmax``, and masked. The next step is the first that uses them. All rows of
    a batch share the weights, and the changes of the rows are summed.

    Args:
        nu: learning rates: one number, or a pair for the term of a source spike and the term of a target spike.
        wmin, wmax: limits of the weights: a number, or one that broadcasts to the weights.
        weight_decay: the fraction of each weight that is lost in every step.
        norm: the sum of the absolute weights of each target to which :meth:`normalise` scales them; None for no scaling.
        mask: ``[*w]``, true where a weight is always 0.
        learning: False to keep the weights as they are. They are then constants, as without a rule.

    The rules, their names and defaults are those of BindsNET (Hazan et al. 2018, doi:10.3389/fninf.2018.00089).

    Raises:
        InvalidInput: for rates, limits or masks of a wrong type or shape.
    """

    READS: ClassVar[frozenset[str]] = frozenset()
    """What the rule reads besides spikes: "source_trace", "target_trace", "reward", "probability"."""

    __constants__: ClassVar[list[str]] = [
        "learning",
        "reads_source_trace",
        "reads_target_trace",
        "reads_reward",
        "reads_probability",
        "pre",
        "post",
        "decays",
        "limited",
        "limits_are_numbers",
        "masked",
        "normalises",
    ]

    nu: Tensor
    wmin: Tensor
    wmax: Tensor
    weight_decay: Tensor
    kept: Tensor
    norm: Tensor | None
    mask: Tensor | None
    if TYPE_CHECKING:
        synapses: Synapses

    def __init__(self, nu: Rates = (0.0, 0.0), **options: Unpack[RuleOptions]) -> None:
        super().__init__()
        unknown = options.keys() - RuleOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no keyword {sorted(unknown)}")
        rates = self._numbers("nu", nu if isinstance(nu, (Tensor, Sequence)) else [nu, nu])
        if list(rates.shape) != [2] or not rates.isfinite().all():
            raise InvalidInput(f"{type(self).__name__}(nu={nu!r}): expected one finite number, or two")
        self.register_buffer("nu", rates)
        self.pre, self.post = (bool(rate) for rate in rates)  # a term with a rate of 0 is left out
        self.register_buffer("wmin", self._numbers("wmin", options.get("wmin", -math.inf)))
        self.register_buffer("wmax", self._numbers("wmax", options.get("wmax", math.inf)))
        if (self.wmin > self.wmax).any():
            raise InvalidInput(f"{type(self).__name__}: wmin is greater than wmax")
        self.limited = bool(self.wmin.isfinite().any() or self.wmax.isfinite().any())
        self.limits_are_numbers = self.wmin.dim() == self.wmax.dim() == 0
        self.smallest, self.largest = float(self.wmin.min()), float(self.wmax.max())
        decay = options.get("weight_decay", 0.0)
        self.register_buffer("weight_decay", self._numbers("weight_decay", decay))
        if self.weight_decay.dim() or not 0 <= self.weight_decay < 1:
            raise InvalidInput(f"{type(self).__name__}(weight_decay={decay!r}): expected a number from 0 to below 1")
        self.register_buffer("kept", torch.tensor(1.0 - float(decay), dtype=torch.float32))
        self.decays = bool(decay)
        norm, mask = options.get("norm"), options.get("mask")
        self.register_buffer("norm", None if norm is None else self._numbers("norm", norm))
        self.normalises = norm is not None
        self.register_buffer("mask", None if mask is None else self._numbers("mask", mask))
        self.masked = mask is not None
        self.learning = bool(options.get("learning", True))
        self.reads_source_trace = "source_trace" in self.READS
        self.reads_target_trace = "target_trace" in self.READS
        self.reads_reward = "reward" in self.READS
        self.reads_probability = "probability" in self.READS
        self.attached = False

    def _numbers(self, name: str, value: object) -> Tensor:
        try:
            tensor = torch.as_tensor(value).detach().to(torch.float32, copy=True)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidInput(f"{type(self).__name__}({name}={value!r}): expected numbers") from None
        if tensor.isnan().any():
            raise InvalidInput(f"{type(self).__name__}({name}=...): must not be NaN")
        return tensor

    def add_number(self, name: str, value: Number, *, positive: bool = False) -> None:
        """Copy a number to a float32 buffer. Raises InvalidInput if it is not one finite number."""
        number = self._numbers(name, value)
        if number.dim() or not number.isfinite() or (positive and number <= 0):
            expected = "a number greater than 0" if positive else "a finite number"
            raise InvalidInput(f"{type(self).__name__}({name}={value!r}): expected {expected}")
        self.register_buffer(name, number)

    def add_decay(self, tc: str, decay: str, dt: float) -> None:
        """Register the decay factor ``exp(-dt / tc)`` per step of a time constant in ms."""
        self.register_buffer(decay, torch.exp(-dt / self.get_buffer(tc)))

    def attach(
        self, synapses: Synapses, weights: Sequence[int], source: Sequence[int], target: Sequence[int], dt: float
    ) -> None:
        """Set the synapses, the shapes of weights, source and target, and the step in ms.

        Raises InvalidInput if the rule already belongs to a connection, or for numbers that do not fit the weights.
        """
        if self.attached:
            raise InvalidInput(f"this {type(self).__name__} already belongs to a connection: create another one")
        for name, shape in (("wmin", weights), ("wmax", weights), ("mask", weights), ("norm", target)):
            value = self._buffers[name]
            if value is not None and not _broadcasts(value, shape):
                raise InvalidInput(
                    f"{type(self).__name__}: {name} is {list(value.shape)}, expected one number or {list(shape)}"
                )
        self.attached = True
        self.synapses = synapses
        self.source_shape, self.target_shape = list(source), list(target)
        self.weights_shape = list(weights)
        self.set_step(dt)

    def set_step(self, dt: float) -> None:
        """Compute the constants that depend on the step."""

    def states(self) -> tuple[TensorSpec, ...]:
        """The records of the states that the rule keeps besides the weights, all 0 at the start."""
        return ()

    @abstractmethod
    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Change ``w`` in place, and return the rule's own next state. See :meth:`forward`."""

    def forward(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Change the weights after one step, in place, and return the rule's own next state.

        Args:
            w: the weights. The caller owns them.
            activity: of this step: the spikes ``source`` ``[B, *source]`` and ``target`` ``[B, *target]``, 0.0 or 1.0, and
                what ``READS`` names: ``source_trace``, ``target_trace`` (after the spikes), ``reward`` ``[B]``,
                ``probability`` ``[B, *target]``.
            state: the rule's own state before this step.
        """
        after = self.update(w, activity, state)
        if self.decays:
            w.mul_(self.kept)
        if self.limited:
            if self.limits_are_numbers:
                w.clamp_(self.smallest, self.largest)
            else:
                w.copy_(torch.minimum(torch.maximum(w, self.wmin), self.wmax))
        mask = self.mask
        if mask is not None:
            w.masked_fill_(mask != 0, 0.0)
        return after

    def normalise(self, w: Tensor) -> Tensor:
        """Scale weights ``[N, M]`` so that the absolute weights of each target sum to ``norm``. Weights of 0 stay 0."""
        norm = self.norm
        assert norm is not None  # TorchScript needs this to refine the type
        total = w.abs().sum(0)
        total = torch.where(total == 0, 1.0, total)
        if norm.dim() == 0:
            return w * (total.reciprocal() * norm)  # how torch divides a Python number by a tensor, and so BindsNET
        return w * (norm / total)

    def extra_repr(self) -> str:
        """The rates and the limits."""
        return f"nu={self.nu.tolist()}, wmin={self.smallest:g}, wmax={self.largest:g}"


def _broadcasts(value: Tensor, shape: Sequence[int]) -> bool:
    try:
        return value.expand(list(shape)).shape == torch.Size(shape)
    except RuntimeError:
        return False
