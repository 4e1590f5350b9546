"""The base class of all neurons: parameters as buffers, state as data, spike traces and summed input."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypedDict, Unpack

import torch
from torch import Tensor, nn

from deploy_snn.contract import Contract, Kind, Operation, Role, Rounding, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.torch_internals import is_scripting, script_export, script_unused

Number = float | int | Tensor
"""A parameter: a number, a 0-d tensor, or a tensor that broadcasts to the neurons' shape."""

DRIVE = TensorSpec(name="x", role=Role.DRIVE, unit="mV")
NOISE = TensorSpec(name="noise", role=Role.NOISE, unit="uniform on [0, 1)")
SPIKES = TensorSpec(name="s", role=Role.SPIKES, dtype="bool")
VALUES = TensorSpec(name="s", role=Role.RECORD)
"""The output of a graded neuron: numbers instead of spikes."""
TRACE = TensorSpec(name="trace", role=Role.STATE, kind=Kind.TRACE, initial="0")
SUMMED = TensorSpec(name="summed", role=Role.STATE, kind=Kind.SUM, initial="0", unit="mV")


class NodesOptions(TypedDict, total=False):
    """The keywords that all classes have in common."""

    traces: bool
    traces_additive: bool
    tc_trace: Number
    trace_scale: Number
    sum_input: bool
    learning: bool
    dt: float


class Nodes(nn.Module, ABC):
    """A population of neurons: ``s, state = neuron(x, state)``, or ``neuron(x, state, noise)`` for a stochastic class.

    Args:
        n: number of neurons. Pass ``n`` or ``shape``, or both if ``prod(shape) == n``.
        shape: the population's shape, ``[*shape]`` below.
        traces: keep a spike trace as state ``trace`` ``[B, *shape]``.
        traces_additive: a spike adds ``trace_scale`` to the trace; otherwise it sets the trace to 1.
        tc_trace: time constant of the trace, in ms.
        trace_scale: increase of an additive trace per spike.
        sum_input: sum the drive that enters the membrane, as state ``summed`` ``[B, *shape]``.
        learning: whether the adaptive classes update their ``theta``.
        dt: length of a step, in ms.

    Raises:
        InvalidInput: for missing or contradicting sizes, and for parameters that are NaN, do not broadcast to ``shape``, or
            are not positive although they must be.

    Parameters are buffers, so that they can be assigned and loaded from a ``state_dict``. So are the constants computed
    from them once, in float32, such as ``exp(-dt / tc)``. The models are those of BindsNET (Hazan et al. 2018,
    doi:10.3389/fninf.2018.00089), as functions of an explicit state.

    The section ``Equation`` of a class is one step of one row, line by line, with ``lbound`` as a limit if it is given;
    ``deploy-snn describe`` shows it, and the tests evaluate it.
    """

    DRIVE: ClassVar[TensorSpec] = DRIVE
    OUTPUT: ClassVar[TensorSpec] = SPIKES
    STATES: ClassVar[tuple[TensorSpec, ...]] = ()
    ROUNDING: ClassVar[tuple[Rounding, ...] | None] = None
    """The operations of ``step`` whose last bits differ between runtimes; () for none. A class that defines its own step
    without this declaration is inexact."""

    __jit_unused_properties__: ClassVar[list[str]] = ["contract"]
    # Constants for TorchScript, which then removes the branches that are never taken.
    __constants__: ClassVar[list[str]] = [
        "traces",
        "traces_additive",
        "sum_input",
        "learning",
        "stochastic",
        "graded",
        "steps_without_input",
        "shared_state",
    ]

    dt: Tensor
    tc_trace: Tensor
    trace_decay: Tensor
    trace_scale: Tensor

    def __init__(self, n: int | None = None, shape: Sequence[int] | None = None, **options: Unpack[NodesOptions]) -> None:
        super().__init__()
        unknown = options.keys() - NodesOptions.__annotations__.keys()
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no keyword {sorted(unknown)}; it has {sorted(keywords(type(self)))}"
            )
        self.shape = _population(n, shape)
        self.n = math.prod(self.shape)
        self.traces = bool(options.get("traces", False))
        self.traces_additive = bool(options.get("traces_additive", False))
        self.sum_input = bool(options.get("sum_input", False))
        self.learning = bool(options.get("learning", True))
        self.stochastic = False
        self.graded = self.OUTPUT is VALUES
        self.steps_without_input = False
        self.shared_state = ""  # the name of the state that the rows of a batch share, if any
        self._checked: object = None
        self.add_parameter("dt", options.get("dt", 1.0), positive=True)
        if self.dt.dim() != 0 or not self.dt.isfinite():
            raise InvalidInput(f"dt={self.dt.tolist()}: expected one finite number of ms for all neurons")
        self.add_parameter("trace_scale", options.get("trace_scale", 1.0))
        self.add_decay("tc_trace", options.get("tc_trace", 20.0), "trace_decay")

    def add_parameter(self, name: str, value: Number, *, positive: bool = False) -> None:
        """Copy a parameter to a float32 buffer. Raises InvalidInput if it is not a valid value."""
        argument = f"{type(self).__name__}({name}={value if not isinstance(value, Tensor) else list(value.shape)})"
        try:
            tensor = torch.as_tensor(value).detach().to(torch.float32, copy=True)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidInput(f"{argument}: expected a number or a tensor") from None
        try:
            fits = tensor.expand(self.shape).shape == self.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise InvalidInput(f"{argument}: the tensor must broadcast to the neurons' shape {list(self.shape)}")
        if tensor.isnan().any():
            raise InvalidInput(f"{argument}: must not be NaN")
        if positive and not (tensor > 0).all():
            raise InvalidInput(f"{argument}: must be greater than 0")
        self.register_buffer(name, tensor)

    def add_decay(self, name: str, tc: Number, decay: str) -> None:
        """Register a time constant in ms, and its decay factor ``exp(-dt / tc)`` per step."""
        self.add_parameter(name, tc, positive=True)
        self.register_buffer(decay, torch.exp(-self.dt / self.get_buffer(name)))

    def extra_repr(self) -> str:
        """The population's size, and the parameters that a constructor takes, as they are now."""
        size = f"n={self.n}" if len(self.shape) == 1 else f"shape={tuple(self.shape)}"
        common = NodesOptions.__annotations__
        own = [name for name in keywords(type(self)) if name not in ("n", "shape") and name not in common]
        values = {name: getattr(self, name) for name in own if hasattr(self, name)}
        shown = [f"{name}={_shown(value)}" for name, value in values.items()]
        return ", ".join([size, *shown, f"dt={self.dt_in_ms():g}"])

    @property
    def contract(self) -> Contract:
        """The records of every tensor that a step reads and returns, with this population's shape."""
        tensors = [self.DRIVE, *((NOISE,) if self.stochastic else ()), *self.own_states()]
        tensors += [spec for spec, on in ((TRACE, self.traces), (SUMMED, self.sum_input)) if on]
        return Contract(
            dt=self.dt_in_ms(),
            tensors=tuple(self.sized(spec) for spec in (*tensors, self.OUTPUT)),
            rounding=self.rounding(),
        )

    @classmethod
    def rounding(cls) -> tuple[Rounding, ...]:
        """The operations that round, as declared by the class. A subclass with other equations must declare its own."""
        if cls.ROUNDING is None or not declaration_holds(cls, "ROUNDING", NOT_EQUATIONS):
            return (Rounding(tensor=cls.OUTPUT.name, operation=Operation.UNKNOWN),)
        return cls.ROUNDING

    def dt_in_ms(self) -> float:
        """The length of a step in short decimal form: 0.1, where the float32 is 0.10000000149."""
        return float(f"{float(self.dt):.7g}")

    def own_states(self) -> tuple[TensorSpec, ...]:
        """The records of the class's own states; fewer than ``STATES`` if an option makes one of them constant."""
        return self.STATES

    def sized(self, spec: TensorSpec) -> TensorSpec:
        """Return the record with this population's shape."""
        return spec.over(self.shape)

    @abstractmethod
    def resting_state(self) -> dict[str, Tensor]:
        """The class's own initial state, without a batch axis."""

    @abstractmethod
    def step(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Step the class's own equations. Returns spikes, the drive that entered the membrane, and the next state."""

    @abstractmethod
    def threshold_inputs(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The two operands of the threshold comparison in this step, value and threshold, each ``[B, *shape]``."""

    @script_export
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first step, for ``batch`` rows: ``[batch, *shape]``, except for a shared state."""
        if batch < 1:
            raise ValueError(f"batch={batch}: expected at least 1")
        state: dict[str, Tensor] = {}
        for name, value in self.resting_state().items():
            if name == self.shared_state:
                state[name] = value.clone()
            else:
                state[name] = value.expand([batch] + list(value.shape)).clone()
        zeros = torch.zeros([batch] + list(self.shape), dtype=torch.float32, device=self.dt.device)
        if self.traces:
            state["trace"] = zeros
        if self.sum_input:
            state["summed"] = zeros.clone()
        return state

    def expand(self, value: Tensor) -> Tensor:
        """Expand a parameter to one value per neuron: ``[*shape]``."""
        return value.expand(self.shape)

    def forward(
        self, x: Tensor | None, state: dict[str, Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of dt.

        Args:
            x: drive ``[B, *shape]``, float32.
            state: the state from ``initial_state`` or from the previous step.
            noise: ``[B, *shape]``, uniform on [0, 1), for a stochastic class; None otherwise.

        Returns:
            Spikes ``[B, *shape]``, bool, and the next state. A graded class returns numbers, float32, instead of spikes.

        Raises:
            InvalidInput: in eager mode, for a tensor that is missing, unknown, or of the wrong shape or type.
        """
        if x is None:
            if not self.steps_without_input:
                raise ValueError("x is None: this class cannot step without a drive; call neuron(x, state)")
            if not is_scripting() and not torch.compiler.is_compiling():
                check_tensors(self.contract.states, state, "state")
            x = torch.zeros_like(state["v"])
        if not is_scripting() and not torch.compiler.is_compiling():
            self._check(x, state, noise)
        s, entered, after = self.step(x, state, noise)
        if self.traces:
            trace = state["trace"] * self.trace_decay
            if self.traces_additive:
                # The same bits as trace + scale * s, without the cast of s.
                after["trace"] = torch.where(s, trace + self.trace_scale, trace)
            else:
                after["trace"] = torch.where(s, 1.0, trace)
        if self.sum_input:
            after["summed"] = state["summed"] + entered
        return s, after

    @script_unused
    def _check(self, x: Tensor, state: dict[str, Tensor], noise: Tensor | None) -> None:
        inputs = {"x": x} if noise is None else {"x": x, "noise": noise}
        shapes = [(name, t.shape, t.dtype) for tensors in (inputs, state) for name, t in tensors.items()]
        signature = [self.learning, *shapes]
        if signature == self._checked:  # the previous step had the same shapes
            return
        contract = self.contract
        batch = check_tensors(contract.inputs, inputs, "input")
        check_tensors(contract.states, state, "state", batch)
        self._checked = signature


NOT_EQUATIONS = frozenset({"__init__", "resting_state", "own_states", "sized", "threshold_inputs"})
"""Methods that a subclass may define without changing the equations of a step."""


def declaration_holds(cls: type, attribute: str, harmless: frozenset[str]) -> bool:
    """Whether a class attribute still applies: no subclass of the class that declares it defines other methods.

    Methods in ``harmless`` are allowed.
    """
    for owner in cls.__mro__:
        if attribute in vars(owner):
            return True
        if any(inspect.isroutine(value) and name not in harmless for name, value in vars(owner).items()):
            return False
    return False


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.item():g}" if value.dim() == 0 else f"tensor{list(value.shape)}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def keywords(cls: type[Nodes]) -> dict[str, object]:
    """Every keyword of a class's constructor, with its default if the signature has one."""
    found: dict[str, object] = dict.fromkeys(NodesOptions.__annotations__)
    for owner in reversed(cls.__mro__):
        if issubclass(owner, Nodes) and "__init__" in vars(owner):
            parameters = list(inspect.signature(owner.__init__).parameters.values())[1:]
            found |= {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    return found


def _population(n: int | None, shape: Sequence[int] | None) -> tuple[int, ...]:
    if shape is None:
        if n is None:
            raise InvalidInput("the number of neurons is missing; pass n=100 or shape=(10, 10)")
        shape = (n,)
    sizes = tuple(int(size) for size in shape)
    if not sizes or any(size < 1 for size in sizes):
        raise InvalidInput(f"shape={list(sizes)}: every size must be at least 1")
    if n is not None and math.prod(sizes) != n:
        raise InvalidInput(
            f"n={n} and shape={list(sizes)} contradict each other: the shape has {math.prod(sizes)} neurons; pass only one"
        )
    return sizes
