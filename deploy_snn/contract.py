"""The contract: frozen records of every tensor that one step reads and returns.

A *program* is a function of one time step, ``outputs, next_state = program(inputs, state)``, over dictionaries of
tensors. Exports, manifests, hosts and checks are all derived from its :class:`Contract`. The records hold no arrays and
import no framework, so that every part of the toolkit, and every host, can read them.
"""

import json
from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy_snn.contract_v1 import upgrade_contract
from deploy_snn.errors import InvalidInput

CONTRACT_VERSION: Literal[2] = 2
"""The version that this toolkit writes. It reads this version and all earlier ones."""

NEXT = "next."
"""State ``v`` enters a graph as ``v`` and leaves it as ``next.v``: a prefix keeps the sorted order of the states."""

CONTRACT_KEY = "deploy_snn.contract"
"""The name of the contract in the metadata of an ONNX file."""

CONTRACT_FILE = "deploy_snn.contract.json"
"""The name of the contract in TorchScript and torch.export archives."""


class Record(BaseModel):
    """A frozen record, strictly parsed: unknown fields and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Role(StrEnum):
    """How a step uses a tensor."""

    DRIVE = "drive"
    NOISE = "noise"
    REWARD = "reward"
    """One number for each row, which learning rules read."""
    STATE = "state"
    SPIKES = "spikes"
    RECORD = "record"


class Kind(StrEnum):
    """What a state represents."""

    POTENTIAL = "potential"
    CURRENT = "current"
    RECOVERY = "recovery"
    COUNTER = "counter"
    """A refractory counter, in ms."""
    TRACE = "trace"
    THRESHOLD = "threshold"
    SUM = "sum"
    """The sum of the drives of all steps."""
    WEIGHT = "weight"
    ELIGIBILITY = "eligibility"
    PREVIOUS = "previous"
    """The output of the previous step."""
    WINDOW = "window"
    """A window of past steps."""
    OTHER = "other"


class Operation(StrEnum):
    """An operation whose last bits depend on the runtime."""

    SUM = "sum"
    """The runtime chooses the order of the additions."""
    EXP = "exp"
    """The runtime chooses how to approximate the exponential."""
    UNKNOWN = "unknown"
    """The class does not declare which of its operations round."""


class Rounding(Record):
    """An operation whose last bits may differ between runtimes.

    ``tensor`` is the first tensor that shows the difference. The name of a connection means the drive of that connection.
    """

    tensor: str = Field(min_length=1)
    operation: Operation

    def __str__(self) -> str:
        return {
            Operation.SUM: f"the sum in {self.tensor}",
            Operation.EXP: f"the exponential in {self.tensor}",
            Operation.UNKNOWN: f"an undeclared operation in {self.tensor}",
        }[self.operation]


LARGEST_SIZE = 2**63 - 1
"""The largest size of an axis that every host can hold."""


class Axis(Record):
    """A named axis. ``size`` is None for an axis of any size (batch, time)."""

    name: str = Field(min_length=1)
    size: int | None = Field(ge=1, le=LARGEST_SIZE, strict=True)

    def __str__(self) -> str:
        return self.name if self.size is None else str(self.size)


BATCH = Axis(name="batch", size=None)
TIME = Axis(name="time", size=None)
NEURONS = Axis(name="neurons", size=None)
"""A placeholder for the neurons' shape, in the records that a class declares. :meth:`TensorSpec.over` replaces it."""
WINDOW = Axis(name="window", size=None)
"""A placeholder for a window of past steps. The newest step is last."""


class HasShape(Protocol):
    """Any array or tensor: numpy's, torch's, ONNX Runtime's."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...


class TensorSpec(Record):
    """One tensor of a step: its name, element type, named axes and role.

    Attributes:
        name: unique in its contract.
        role: how the step uses it. kind: what a state represents; None for inputs and outputs.
        dtype: element type. axes: named axes, such as ``(batch, neuron)``.
        owner: the layer or the connection that the tensor belongs to; "" for a single neuron class. A layer's noise,
            threshold and spikes all have the same owner, so a reader finds related tensors without parsing names.
        initial: the initial value in words. unit: the unit in words. Both are documentation and take no part in equality.
    """

    name: str = Field(min_length=1)
    role: Role
    kind: Kind | None = None
    dtype: Literal["float32", "bool"] = "float32"
    axes: tuple[Axis, ...] = (BATCH, NEURONS)
    owner: str = ""
    initial: str = ""
    unit: str = ""

    @model_validator(mode="after")
    def _states_have_a_kind(self) -> Self:
        if (self.role is Role.STATE) != (self.kind is not None):
            raise ValueError(f"tensor '{self.name}': a state must have a kind, and an input or output must not")
        return self

    @cached_property
    def identity(self) -> tuple[Hashable, ...]:
        """The fields that equality compares: all but the documentation."""
        return (self.name, self.role, self.kind, self.dtype, self.axes, self.owner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def batch_axis(self) -> int | None:
        """The index of the batch axis, or None for a tensor that all rows of a batch share."""
        return next((index for index, axis in enumerate(self.axes) if axis.size is None and axis.name == BATCH.name), None)

    @property
    def window_axis(self) -> int | None:
        """The index of the axis for a window of past steps, or None."""
        names = [axis.name for axis in self.axes]
        return names.index(WINDOW.name) if WINDOW.name in names else None

    @property
    def next_name(self) -> str:
        """The name under which a state leaves a graph."""
        return NEXT + self.name

    def over(self, shape: Iterable[int], window: int | None = None) -> Self:
        """Return a copy with real axes in place of the placeholders ``NEURONS`` and ``WINDOW``."""
        sizes = tuple(shape)
        names = ["neuron"] if len(sizes) == 1 else [f"neuron{i}" for i in range(len(sizes))]
        replacements = {
            NEURONS: tuple(Axis(name=name, size=size) for name, size in zip(names, sizes, strict=True)),
            WINDOW: (Axis(name="window", size=window),),
        }
        return self.replaced(axes=tuple(new for axis in self.axes for new in replacements.get(axis, (axis,))))

    def owned_by(self, owner: str) -> Self:
        """Return a copy for use in a network: owned by a layer or connection, with a qualified name (``exc.v``)."""
        return self.replaced(name=f"{owner}.{self.name}", owner=owner)

    def shape(self, **sizes: int) -> tuple[int, ...]:
        """The shape as numbers. The sizes of the open axes are arguments: ``spec.shape(batch=4)``."""
        return tuple(sizes[axis.name] if axis.size is None else axis.size for axis in self.axes)

    def in_time(self) -> Self:
        """Return a copy for a whole sequence, with a leading time axis."""
        return self.replaced(axes=(TIME, *self.axes))

    def replaced(self, **fields: Any) -> Self:
        """Return a copy with new values in some fields."""
        # model_copy would also copy the cached properties.
        return type(self).model_construct(**{name: getattr(self, name) for name in TensorSpec.model_fields} | fields)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.axes))}]"


class Contract(Record):
    """All tensors that one step of ``dt`` milliseconds reads and returns.

    ``rounding`` lists the operations whose last bits may differ between runtimes. If it is empty, every runtime must
    compute the same bits.
    """

    contract_version: Literal[2] = CONTRACT_VERSION
    dt: float = Field(gt=0, strict=True)
    tensors: tuple[TensorSpec, ...]
    rounding: tuple[Rounding, ...] = ()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        names = [spec.name for spec in self.tensors]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate is not None:
            raise ValueError(f"two tensors are named '{duplicate}'")
        for spec in self.tensors:
            for axis in spec.axes:
                if axis.size is None and axis.name != BATCH.name:
                    raise ValueError(f"tensor '{spec.name}': axis '{axis.name}' has no size")
        for spec in self.inputs:
            if spec.dtype != "float32" or spec.batch_axis is None:
                raise ValueError(f"tensor '{spec.name}': an input is float32 and has a batch axis")
        if not self.inputs or not self.outputs:
            raise ValueError("a contract needs at least one input and one output")
        return self

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._with(Role.DRIVE, Role.NOISE, Role.REWARD)

    @cached_property
    def states(self) -> tuple[TensorSpec, ...]:
        return self._with(Role.STATE)

    @cached_property
    def weights(self) -> tuple[TensorSpec, ...]:
        """The states that are weights, which a learning rule changes."""
        return tuple(spec for spec in self.states if spec.kind is Kind.WEIGHT)

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._with(Role.SPIKES, Role.RECORD)

    @cached_property
    def couples_batch(self) -> bool:
        """Whether the rows of a batch share a state, so that a row's result depends on the other rows."""
        return any(spec.batch_axis is None for spec in self.states)

    def _with(self, *roles: Role) -> tuple[TensorSpec, ...]:
        return tuple(spec for spec in self.tensors if spec.role in roles)

    def related(self, spec: TensorSpec, *, role: Role | None = None, kind: Kind | None = None) -> tuple[TensorSpec, ...]:
        """The tensors with the owner of ``spec`` and with the given role or kind."""
        return tuple(
            other
            for other in self.tensors
            if other.owner == spec.owner and (role is None or other.role is role) and (kind is None or other.kind is kind)
        )

    @cached_property
    def identity(self) -> tuple[Hashable, ...]:
        """The fields that equality compares: all but the documentation."""
        return (self.dt, self.tensors, self.rounding)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contract) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Read the contract from a file's metadata, of this version or an earlier one.

        ``where`` names the file in messages. Raises InvalidInput for a newer version, and for a text that is not a
        contract.
        """
        try:
            raw = upgrade_contract(read_json(text), CONTRACT_VERSION)
            return cls.model_validate_json(json.dumps(raw))
        except ValidationError as error:
            raise InvalidInput(f"{where} holds no valid contract: {first_problem(error)}") from None
        except ValueError as error:
            raise InvalidInput(f"{where} holds no valid contract: {error}") from None


def read_json(text: str | bytes) -> Any:
    """Parse JSON; unlike Python's default, NaN, Infinity and encodings other than UTF-8 are errors. Raises ValueError."""

    def reject_constant(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=reject_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def differences(expected: Contract, actual: Contract) -> tuple[str, ...]:
    """List the differences between two contracts, each as a sentence. Empty if they are equal."""
    found = []
    if expected.dt != actual.dt:
        digits = "g" if f"{actual.dt:g}" != f"{expected.dt:g}" else ".17g"
        found.append(f"dt is {actual.dt:{digits}} ms instead of {expected.dt:{digits}} ms")
    expected_specs, actual_specs = ({spec.name: spec for spec in contract.tensors} for contract in (expected, actual))
    found += [f"tensor '{name}' is missing" for name in expected_specs if name not in actual_specs]
    found += [f"tensor '{name}' is unexpected" for name in actual_specs if name not in expected_specs]
    for name, spec in expected_specs.items():
        other = actual_specs.get(name, spec)
        found += [
            f"{field} of tensor '{name}' is {_text(actual_value)} instead of {_text(expected_value)}"
            for field in ("role", "kind", "dtype", "axes", "owner")
            if (expected_value := getattr(spec, field)) != (actual_value := getattr(other, field))
        ]
    if not found and list(expected_specs) != list(actual_specs):
        found.append(f"the order of the tensors is {', '.join(actual_specs)} instead of {', '.join(expected_specs)}")
    if expected.rounding != actual.rounding:
        roundings = [", ".join(map(str, contract.rounding)) or "empty" for contract in (actual, expected)]
        found.append(f"rounding is {roundings[0]} instead of {roundings[1]}")
    return tuple(found)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        axes = (axis.name if axis.size is None else f"{axis.name}={axis.size}" for axis in value)
        return f"[{', '.join(axes)}]"
    return "none" if value in (None, "") else str(value)


def first_problem(error: ValidationError) -> str:
    """The first error of a failed parse, such as ``dt: Input should be greater than 0``."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def check_tensors(
    specs: Iterable[TensorSpec], tensors: Mapping[str, HasShape], what: str, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Check tensors against their specs and return the sizes of the open axes, such as ``{"batch": 4}``.

    ``what`` is the singular noun for messages: "input", "state". ``sizes`` are the sizes of axes that are already known.
    Raises InvalidInput for a missing or unknown name, a wrong element type or shape, different sizes of the same axis, or
    an empty axis.
    """
    specs = tuple(specs)
    for spec in specs:
        if spec.name not in tensors:
            raise InvalidInput(f"{what} '{spec.name}' is missing; expected {_listed(specs, what)}")
    if len(tensors) > len(specs):
        known = {spec.name for spec in specs}
        unknown = next(name for name in tensors if name not in known)
        raise InvalidInput(f"unknown {what} '{unknown}'; expected {_listed(specs, what)}")
    found = dict(sizes or {})
    for spec in specs:
        _check_tensor(spec, tensors[spec.name], what, found)
    return found


def _listed(specs: tuple[TensorSpec, ...], what: str) -> str:
    return "; ".join(map(str, specs)) or f"no {what}"


def _check_tensor(spec: TensorSpec, tensor: HasShape, what: str, sizes: dict[str, int]) -> None:
    problem = _shape_error(spec, tensor, sizes)
    if problem:
        dtype, shape = _dtype_name(tensor.dtype), [int(size) for size in tensor.shape]
        raise InvalidInput(f"{what} '{spec.name}' is {dtype} {shape}; expected {spec}: {problem}")


@cache
def _dtype_name(dtype: Hashable) -> str:
    """Cached, because numpy needs more time to build a dtype's name than the rest of the check needs."""
    return str(dtype).removeprefix("torch.")


def _shape_error(spec: TensorSpec, tensor: HasShape, sizes: dict[str, int]) -> str | None:
    """Describe what is wrong with a tensor, or return None. Adds the sizes of its open axes to ``sizes``."""
    if _dtype_name(tensor.dtype) != spec.dtype:
        return f"convert it to {spec.dtype}"
    shape = tuple(tensor.shape)
    if len(shape) != len(spec.axes):
        return f"it has {len(shape)} axes, not {len(spec.axes)}"
    for axis, size in zip(spec.axes, map(int, shape), strict=True):
        expected = sizes.get(axis.name) if axis.size is None else axis.size
        if size == 0:
            return f"axis '{axis.name}' is empty"
        if expected is not None and expected != size:
            return f"axis '{axis.name}' is {size}, not {expected}"
        if axis.size is None:
            sizes[axis.name] = size
    return None
