"""What the reference exercised: branches, comparisons, bounds, ties, windows, noise, and the neurons that fired.

A fault in a part of a model that no stimulus exercises is invisible. The operations of the eager reference are observed
while it runs, so that a class of the user's own is measured as well.
"""

import inspect
import linecache
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy_snn.bundle.trace import Trace
from deploy_snn.contract import Contract, Kind, Role
from deploy_snn.network import Connection
from deploy_snn.neurons import Nodes
from deploy_snn.parity.report import CoverageItem
from deploy_snn.program import Program
from deploy_snn.torch_internals import observe_operations

ORDER = {"ge", "gt", "le", "lt"}
EQUALITY = {"eq", "ne"}
EXTREMES = {"maximum": "max", "minimum": "min"}
EQUAL = "equal operands"
OBSERVED = {"where", "argmax", *ORDER, *EQUALITY, *EXTREMES}


class Coverage:
    """Counts over any number of runs of one program. ``items()`` is the result."""

    def __init__(self) -> None:
        self._hits: dict[str, int] = {}
        self._labels: dict[Hashable, str] = {}
        self._comparisons: list[tuple[Any, Any, Any, str]] = []
        self._clamps: set[str] = set()
        self._fired: dict[str, np.ndarray[Any, Any]] = {}
        self._owners: dict[int, str] | None = None

    @contextmanager
    def step(self, program: Program, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> Iterator[None]:
        """Observe the operations of one step of the program, which runs in the body of this context."""
        if self._owners is None:
            self._owners = {id(module): name for name, module in program.named_modules()}
        with observe_operations(self._observe):
            yield
        self._comparisons.clear()
        self._count_noise(program, inputs, state)

    def add_run(self, contract: Contract, trace: Trace) -> None:
        """Count what the outputs and states of a whole run show: neurons that fired, and windows with two spikes."""
        for spec in contract.outputs:
            if spec.role is Role.SPIKES:
                fired = trace.outputs[spec.name].any(axis=(0, 1))
                self._fired[spec.name] = self._fired.get(spec.name, np.zeros_like(fired)) | fired
        for spec in contract.states:
            if spec.kind is Kind.WINDOW and spec.window_axis is not None and (spec.axes[spec.window_axis].size or 0) > 1:
                entries = (trace.states[spec.name] != 0).sum(axis=spec.window_axis + 1)
                self._add(f"{spec.name}: windows with two or more entries", int((entries >= 2).sum()))

    @property
    def silent(self) -> tuple[str, ...]:
        """The spike outputs that never fired."""
        return tuple(name for name, fired in self._fired.items() if not fired.any())

    def items(self) -> tuple[CoverageItem, ...]:
        """Everything that was counted."""
        fired = [
            CoverageItem(name=f"{name}: neurons that fired", hits=int(found.sum()), of=found.size)
            for name, found in self._fired.items()
        ]
        immaterial = {f"{label}: {EQUAL}" for label in self._clamps}
        counted = [CoverageItem(name=name, hits=hits) for name, hits in self._hits.items() if name not in immaterial]
        return (*fired, *counted)

    def _add(self, name: str, hits: int) -> None:
        self._hits[name] = self._hits.get(name, 0) + hits

    def _observe(self, operation: str, arguments: tuple[Any, ...], result: Any) -> None:
        if operation not in OBSERVED:
            return
        frame = _calling_frame(inspect.currentframe())
        if frame is None:  # a check of the program, and none of its equations
            return
        site = (id(frame.f_locals["self"]), frame.f_code, frame.f_lasti, operation)
        if site not in self._labels:
            self._labels[site] = self._label(frame, operation)
        label = self._labels[site]
        if operation in ORDER:
            self._comparisons.append((result, arguments[0], arguments[1], label))
        elif operation == "where":
            condition, yes, no = arguments
            # In a clamp, such as where(v < bound, bound, v), equal operands give the same value on both sides.
            self._clamps |= {
                compared
                for result_, a, b, compared in self._comparisons
                if result_ is condition and ((a is yes and b is no) or (a is no and b is yes))
            }
        for name, hits in _counts(operation, arguments, result).items():
            self._add(f"{label}: {name}", hits)

    def _label(self, frame: FrameType, operation: str) -> str:
        """Where an operation stands: the layer or connection, the method and the line of the source."""
        owner = frame.f_locals["self"]
        name = owner.name if isinstance(owner, Connection) else (self._owners or {}).get(id(owner), "")
        place = name.removesuffix("neuron").removeprefix("layers.") + ("." if isinstance(owner, Connection) else "")
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        label = f"{place}{frame.f_code.co_name}, {operation} in `{line or Path(frame.f_code.co_filename).name}`"
        same = sum(other == label or other.startswith(f"{label} #") for other in self._labels.values())
        return f"{label} #{same + 1}" if same else label

    def _count_noise(self, program: Program, inputs: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        """Count the spikes that another noise would have changed."""
        for spec in program.contract.inputs:
            if spec.role is Role.NOISE:
                other = {**inputs, spec.name: torch.remainder(inputs[spec.name] + 0.5, 1.0)}
                changed = 0
                with torch.no_grad():
                    (first, after), (second, later) = program(dict(inputs), state), program(other, state)
                for name, value in {**first, **after}.items():
                    changed += int((value != {**second, **later}[name]).sum())
                self._add(f"{spec.name}: results that the noise decided", changed)


def _calling_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is a method of a neuron or a connection; None if there is none."""
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), (Nodes, Connection)):
            return frame
        frame = frame.f_back
    return None


def _counts(operation: str, arguments: tuple[Any, ...], result: Tensor) -> dict[str, int]:
    """What one operation did. A branch counts only where the other branch would have given another value."""
    if operation == "where":
        condition, yes, no = torch.broadcast_tensors(*arguments)  # type: ignore[no-untyped-call]
        matters = yes != no
        return {
            "first branch": int((condition & matters).sum()),
            "second branch": int((~condition & matters).sum()),
        }
    if operation == "argmax":
        axis = arguments[1] if len(arguments) > 1 else None
        values = arguments[0]
        best = values.amax() if axis is None else values.amax(axis, keepdim=True)
        best_count = (values == best).sum() if axis is None else (values == best).sum(axis)
        return {"ties": int((best_count > 1).sum())}
    a, b = arguments[0], arguments[1]
    if operation in EXTREMES:
        return {"first is larger": int((a > b).sum()), "second is larger": int((a < b).sum())}
    found = {"true": int(result.sum()), "false": int((~result).sum())}
    if operation in ORDER and torch.is_floating_point(a):
        found[EQUAL] = int((a == b).sum())
    return found
