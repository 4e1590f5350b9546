"""The contract: frozen records of every tensor that one step takes and gives.

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
    STATE = "state"
    SPIKES = "spikes"
    RECORD = "record"


class Kind(StrEnum):
    """What a state stands for."""

    POTENTIAL = "potential"
    CURRENT = "current"
    RECOVERY = "recovery"
    COUNTER = "counter"
    """A refractory counter, in ms."""
    TRACE = "trace"
    THRESHOLD = "threshold"
    SUM = "sum"
    """The drives of all steps, added up."""
    WEIGHT = "weight"
    ELIGIBILITY = "eligibility"
    PREVIOUS = "previous"
    """The output of the step before."""
    WINDOW = "window"
    """A window of past steps."""
    OTHER = "other"


class Operation(StrEnum):
    """An operation whose last bits each runtime may choose."""

    SUM = "sum"
    """The runtime chooses the order of the additions."""
    EXP = "exp"
    """The runtime chooses how it approximates an exponential."""
    UNKNOWN = "unknown"
    """The class does not declare which of its operations round."""


class Rounding(Record):
    """An operation whose last bits may differ between runtimes.

    ``tensor`` is the tensor where the difference shows first, or the name of a connection, which stands for its drive.
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
"""A placeholder for the neurons' shape, in records declared beside a class. :meth:`TensorSpec.over` replaces it."""
WINDOW = Axis(name="window", size=None)
"""A placeholder for a window of past steps, newest last."""


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
        role: how the step uses it. kind: what a state stands for; None for inputs and outputs.
        dtype: element type. axes: named axes, such as ``(batch, neuron)``.
        owner: the layer or the connection that the tensor belongs to. Tensors with the same owner belong together: the
            noise and the threshold of a layer's spikes have the owner of these spikes. "" for a single neuron class.
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
            raise ValueError(f"tensor '{self.name}': a state has a kind, and nothing else has")
        return self

    @cached_property
    def identity(self) -> tuple[Hashable, ...]:
        """All that two specs must share to be equal: everything but the prose."""
        return (self.name, self.role, self.kind, self.dtype, self.axes, self.owner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def batch_axis(self) -> int | None:
        """The place of the batch axis, or None for a tensor that all rows of a batch share."""
        return next((place for place, axis in enumerate(self.axes) if axis.size is None and axis.name == BATCH.name), None)

    @property
    def window_axis(self) -> int | None:
        """The place of a window of past steps, or None."""
        names = [axis.name for axis in self.axes]
        return names.index(WINDOW.name) if WINDOW.name in names else None

    @property
    def next_name(self) -> str:
        """The name under which a state leaves a graph."""
        return NEXT + self.name

    def over(self, shape: Iterable[int], window: int | None = None) -> Self:
        """Replace the placeholders ``NEURONS`` and ``WINDOW`` by real axes."""
        sizes = tuple(shape)
        names = ["neuron"] if len(sizes) == 1 else [f"neuron{i}" for i in range(len(sizes))]
        real = {
            NEURONS: tuple(Axis(name=name, size=size) for name, size in zip(names, sizes, strict=True)),
            WINDOW: (Axis(name="window", size=window),),
        }
        return self.replaced(axes=tuple(axis for own in self.axes for axis in real.get(own, (own,))))

    def owned_by(self, owner: str) -> Self:
        """The same tensor as a part of a network: owned by a layer or connection, with a qualified name (``exc.v``)."""
        return self.replaced(name=f"{owner}.{self.name}", owner=owner)

    def shape(self, **sizes: int) -> tuple[int, ...]:
        """The shape as numbers, given the sizes of the open axes: ``spec.shape(batch=4)``."""
        return tuple(sizes[axis.name] if axis.size is None else axis.size for axis in self.axes)

    def in_time(self) -> Self:
        """The same tensor over all steps of a sequence: with a leading time axis."""
        return self.replaced(axes=(TIME, *self.axes))

    def replaced(self, **fields: Any) -> Self:
        """A copy with other values in some fields. (``model_copy`` would also copy what has been cached.)"""
        return type(self).model_construct(**{name: getattr(self, name) for name in TensorSpec.model_fields} | fields)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.axes))}]"


class Contract(Record):
    """All tensors that one step of ``dt`` milliseconds takes and gives.

    ``rounding`` lists the operations whose last bits may differ between runtimes. Where it is empty, every runtime must
    give the same bits.
    """

    contract_version: Literal[2] = CONTRACT_VERSION
    dt: float = Field(gt=0, strict=True)
    tensors: tuple[TensorSpec, ...]
    rounding: tuple[Rounding, ...] = ()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        names = [spec.name for spec in self.tensors]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tensors are named '{twice}'")
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
        return self._with(Role.DRIVE, Role.NOISE)

    @cached_property
    def states(self) -> tuple[TensorSpec, ...]:
        return self._with(Role.STATE)

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
        """The tensors with the same owner as ``spec`` that have this role or this kind."""
        return tuple(
            other
            for other in self.tensors
            if other.owner == spec.owner and (role is None or other.role is role) and (kind is None or other.kind is kind)
        )

    @cached_property
    def identity(self) -> tuple[Hashable, ...]:
        """All that two contracts must share to be equal: everything but the prose."""
        return (self.dt, self.tensors, self.rounding)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contract) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Read the contract that a file carries, of this version or an earlier one.

        Raises InvalidInput, naming ``where`` it stood, for a newer version and for anything that is no contract.
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

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def differences(expected: Contract, actual: Contract) -> tuple[str, ...]:
    """What differs between two contracts, a sentence each; empty if they are equal."""
    found = []
    if expected.dt != actual.dt:
        digits = "g" if f"{actual.dt:g}" != f"{expected.dt:g}" else ".17g"
        found.append(f"dt is {actual.dt:{digits}} ms instead of {expected.dt:{digits}} ms")
    wanted, given = ({spec.name: spec for spec in contract.tensors} for contract in (expected, actual))
    found += [f"tensor '{name}' is missing" for name in wanted if name not in given]
    found += [f"tensor '{name}' is unexpected" for name in given if name not in wanted]
    for name, spec in wanted.items():
        other = given.get(name, spec)
        found += [
            f"{field} of tensor '{name}' is {_shown(mine)} instead of {_shown(own)}"
            for field in ("role", "kind", "dtype", "axes", "owner")
            if (own := getattr(spec, field)) != (mine := getattr(other, field))
        ]
    if not found and list(wanted) != list(given):
        found.append(f"the order of the tensors is {', '.join(given)} instead of {', '.join(wanted)}")
    if expected.rounding != actual.rounding:
        shown = [", ".join(map(str, contract.rounding)) or "nothing" for contract in (actual, expected)]
        found.append(f"what rounds is {shown[0]} instead of {shown[1]}")
    return tuple(found)


def _shown(value: object) -> str:
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

    ``what`` is the singular noun for messages: "input", "state"; ``sizes`` are axes that are known already.
    Raises InvalidInput for a missing or unknown name, a wrong element type or shape, sizes that disagree between tensors,
    and an empty axis.
    """
    specs = tuple(specs)
    for spec in specs:
        if spec.name not in tensors:
            raise InvalidInput(f"{what} '{spec.name}' is missing. Expected: {_listed(specs, what)}")
    if len(tensors) > len(specs):
        known = {spec.name for spec in specs}
        unknown = next(name for name in tensors if name not in known)
        raise InvalidInput(f"{what} '{unknown}' is unknown. Expected: {_listed(specs, what)}")
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
    """Cached: numpy takes longer to build a dtype's name than all the rest of a check takes."""
    return str(dtype).removeprefix("torch.")


def _shape_error(spec: TensorSpec, tensor: HasShape, sizes: dict[str, int]) -> str | None:
    """What is wrong with a tensor, if anything. The sizes of its open axes are added to ``sizes``."""
    if _dtype_name(tensor.dtype) != spec.dtype:
        return f"convert it to {spec.dtype}"
    shape = tuple(tensor.shape)
    if len(shape) != len(spec.axes):
        return f"it has {len(shape)} axes and not {len(spec.axes)}"
    for axis, size in zip(spec.axes, map(int, shape), strict=True):
        wanted = sizes.get(axis.name) if axis.size is None else axis.size
        if size == 0:
            return f"axis '{axis.name}' is empty"
        if wanted is not None and wanted != size:
            return f"axis '{axis.name}' is {size} and not {wanted}"
        if axis.size is None:
            sizes[axis.name] = size
    return None
