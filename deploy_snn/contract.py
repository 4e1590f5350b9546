"""What a step takes and gives: frozen records, the one truth that exports, manifests, hosts and checks are derived from.

A *program* is a function of one time step, ``outputs, next_state = program(inputs, state)``, over dictionaries of
tensors. Its :class:`Contract` says which tensors these are. The records hold no arrays and import no framework, so every
part of the toolkit, and every host, can read them.
"""

from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy_snn.errors import InvalidInput

NEXT = "next."
"""State ``v`` enters a graph as ``v`` and leaves it as ``next.v``: as a prefix it keeps the sorted order of the states."""

CONTRACT_KEY = "deploy_snn.contract"
"""The name under which the contract travels inside an ONNX file's metadata."""

CONTRACT_FILE = "deploy_snn.contract.json"
"""The name under which the contract travels inside TorchScript and torch.export archives."""


class Record(BaseModel):
    """A frozen, strictly parsed piece of data."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Role(StrEnum):
    """What a tensor is to the step."""

    DRIVE = "drive"
    NOISE = "noise"
    STATE = "state"
    SPIKES = "spikes"
    RECORD = "record"


class Axis(Record):
    """A named axis. ``size`` is None where any size goes (batch, time); ``BATCH``, ``NEURONS`` below are the usual ones."""

    name: str
    size: int | None = Field(default=None, ge=1)

    def __str__(self) -> str:
        return self.name if self.size is None else str(self.size)


BATCH = Axis(name="batch")
TIME = Axis(name="time")
NEURONS = Axis(name="neurons")
"""Stands for a neuron's whole shape in records declared beside a class; :meth:`TensorSpec.over` puts the real axes in."""
WINDOW = Axis(name="window")
"""A window of past steps, newest last."""


class HasShape(Protocol):
    """Any array or tensor: numpy's, torch's, ONNX Runtime's."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...


class TensorSpec(Record):
    """One tensor of a step: its name, element type, named axes, role, initial value (of a state) and unit."""

    name: str = Field(min_length=1)
    role: Role
    dtype: Literal["float32", "bool"] = "float32"
    axes: tuple[Axis, ...] = (BATCH, NEURONS)
    initial: str = ""
    unit: str = ""

    @cached_property
    def batch_axis(self) -> int | None:
        """Where the batch axis stands, or None for a tensor that all rows of a batch share."""
        return next((place for place, axis in enumerate(self.axes) if axis.size is None and axis.name == BATCH.name), None)

    @property
    def window_axis(self) -> int | None:
        """Where a window of past steps stands, or None."""
        names = [axis.name for axis in self.axes]
        return names.index(WINDOW.name) if WINDOW.name in names else None

    @property
    def next_name(self) -> str:
        """The name under which a state leaves a graph."""
        return NEXT + self.name

    def over(self, shape: Iterable[int], window: int | None = None) -> Self:
        """Put the neurons' real axes, and the window's length, in the place of ``NEURONS`` and ``WINDOW``."""
        sizes = tuple(shape)
        names = ["neuron"] if len(sizes) == 1 else [f"neuron{i}" for i in range(len(sizes))]
        real = {
            NEURONS: tuple(Axis(name=name, size=size) for name, size in zip(names, sizes, strict=True)),
            WINDOW: (Axis(name="window", size=window),),
        }
        return self.model_copy(update={"axes": tuple(axis for own in self.axes for axis in real.get(own, (own,)))})

    def shape(self, **sizes: int) -> tuple[int, ...]:
        """The shape as numbers, given the sizes of the open axes: ``spec.shape(batch=4)``."""
        return tuple(sizes[axis.name] if axis.size is None else axis.size for axis in self.axes)

    def in_time(self) -> Self:
        """The same tensor for every step of a sequence: with a leading time axis."""
        return self.model_copy(update={"axes": (TIME, *self.axes)})

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.axes))}]"


class Contract(Record):
    """What one step of ``dt`` milliseconds takes and gives.

    ``rounding`` names the operations whose last bits are the runtime's own affair (sums in an order of its choice, an
    exponential): where it is empty, every runtime must give the same bits.
    """

    dt: float = Field(gt=0)
    tensors: tuple[TensorSpec, ...]
    rounding: tuple[str, ...] = ()

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
        """Whether the rows of a batch share a state, so that a row's result depends on the others."""
        return any(spec.batch_axis is None for spec in self.states)

    def _with(self, *roles: Role) -> tuple[TensorSpec, ...]:
        return tuple(spec for spec in self.tensors if spec.role in roles)

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Read a contract that a file carries. Raises InvalidInput, naming ``where`` it stood and what is wrong with it."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInput(f"{where} holds no valid contract: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing that a failed parse complains of, as ``dt: Input should be greater than 0``."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def check_tensors(
    specs: Iterable[TensorSpec], tensors: Mapping[str, HasShape], what: str, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Hold tensors against their records and return the sizes of the open axes, such as ``{"batch": 4}``.

    ``what`` is the singular noun for messages: "input", "state"; ``sizes`` are axes known already.
    Raises InvalidInput for a missing or unknown name, a wrong element
    type or shape, sizes that disagree between tensors, and an empty axis.
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
    problem = _misfit(spec, tensor, sizes)
    if problem:
        dtype, shape = _dtype_name(tensor.dtype), [int(size) for size in tensor.shape]
        raise InvalidInput(f"{what} '{spec.name}' is {dtype} {shape}; expected {spec}: {problem}")


@cache
def _dtype_name(dtype: Hashable) -> str:
    """Remembered: numpy takes longer to put a dtype's name together than all the rest of a check takes."""
    return str(dtype).removeprefix("torch.")


def _misfit(spec: TensorSpec, tensor: HasShape, sizes: dict[str, int]) -> str | None:
    """What is wrong with a tensor, if anything; the sizes of its open axes are added to ``sizes``."""
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
