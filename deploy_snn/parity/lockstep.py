"""Lockstep: run a runtime step by step on the inputs of the reference, and compare.

In *locked* mode the runtime starts each step from the reference's state, so a difference points to the faulty operation. In
*free* mode it keeps its own state, as in production, so a difference shows its consequences. In *sequence* mode it runs the
steps in a few calls, which split the sequence at random steps; some calls have a single step.

What a runtime returns must be exactly what the contract lists: names, element types and shapes, in every step. It gets
copies of inputs and states, must not write into its inputs, and an exception is the result of its run.
"""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_snn.bundle.trace import Trace, at
from deploy_snn.contract import NEXT, TensorSpec, check_tensors
from deploy_snn.eager import to_torch
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.parity.compare import accepted_difference, compare_tensor, differs, events, number
from deploy_snn.parity.exactness import Link, links_of, rounded_tensors, roundings_of
from deploy_snn.parity.recording import Recording
from deploy_snn.parity.report import Divergence, Mode, Number, RunReport, Tolerance
from deploy_snn.parity.reproducer import WrongStep
from deploy_snn.parity.ulp import ulps
from deploy_snn.program import Program
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Array, Arrays

PROGRESS_EVERY = 50
CUTS = 3

Progress = Callable[[int], None]
"""A callback that receives the number of steps completed since its last call."""


@dataclass(frozen=True)
class _Results:
    """The results of a runtime: the values of each tensor, and the steps that they belong to."""

    steps: int
    values: Arrays
    at: dict[str, NDArray[np.int64]]
    seconds: float


class Lockstep:
    """Compares runtimes with one recorded run of the reference.

    Args:
        trace: the recorded run of the reference.
        program: the reference program, which provides the distances from the threshold; None if only the trace is known.
        tolerance: the tolerance for the tensors that a rounding of the contract reaches.
        fail_fast: whether to stop a run at the first difference.
        seed: seed of the steps at which sequences are split.
        links: the connections of the model, if ``program`` is None.
    """

    def __init__(
        self,
        trace: Trace,
        program: Program | None,
        tolerance: Tolerance,
        *,
        fail_fast: bool = False,
        seed: int = 0,
        links: Iterable[Link] | None = None,
    ) -> None:
        self.trace = trace
        self.program = program
        self.tolerance = tolerance
        self.fail_fast = fail_fast
        self.seed = seed
        self.links = links_of(program) if program is not None else None if links is None else tuple(links)
        self.batch = next(iter(trace.inputs.values())).shape[1]
        self.wrong_step: WrongStep | None = None
        """The first wrong step of the last run, if it was in locked mode."""
        self._restarts = trace.restarts if isinstance(trace, Recording) else {}

    def run(self, name: str, runtime: Runtime, mode: Mode, progress: Progress = lambda _: None) -> RunReport:
        """Run one runtime over the whole trace in one mode, and compare. Raises Unavailable if it cannot run the model."""
        contract = runtime.contract
        specs = [(spec, spec.name) for spec in contract.outputs] + [(spec, spec.next_name) for spec in contract.states]
        rounded = rounded_tensors(contract, self.links)
        accepted = {
            tensor: accepted_difference(self._expected(tensor), self.tolerance) if spec.name in rounded else None
            for spec, tensor in specs
        }
        try:
            if mode == "sequence":
                results = self._sequences(runtime, progress)
            else:
                results = self._steps(runtime, mode, accepted, progress)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  (whatever happens inside a runtime is the result of its run)
            kind = "" if isinstance(error, InvalidInput) else f"{type(error).__name__}: "
            return RunReport(runtime=name, mode=mode, steps=0, equal=False, error=f"{kind}{first_line(error)}")
        tensors = tuple(
            compare_tensor(
                spec, tensor, self._expected(tensor)[results.at[tensor]], results.values[tensor], accepted[tensor]
            )
            for spec, tensor in specs
        )
        equal = not any(tensor.differing for tensor in tensors)
        divergence = None if equal else self._first_divergence(runtime, specs, results, accepted)
        self.wrong_step = self._wrong_step(divergence.step, results) if divergence and mode == "locked" else None
        row = divergence.batch_row or 0 if divergence else 0
        return RunReport(
            runtime=name,
            mode=mode,
            steps=results.steps,
            equal=equal,
            tensors=tensors,
            divergence=divergence,
            microseconds_a_step=results.seconds / results.steps * 1e6,
            raster={
                name: (events(self._expected(name)[results.at[name]], row), events(results.values[name], row))
                for name in (tensor.tensor for tensor in tensors if tensor.differing and tensor.dtype == "bool")
            },
            error_over_time={
                tensor.tensor: self._error_over_time(tensor.tensor, results)
                for tensor in tensors
                if tensor.differing and tensor.dtype != "bool"
            },
        )

    def _expected(self, tensor: str) -> Array:
        """The reference's values of an output or of a ``next.`` state."""
        return self.trace.states[tensor.removeprefix(NEXT)] if tensor.startswith(NEXT) else self.trace.outputs[tensor]

    def _steps(self, runtime: Runtime, mode: Mode, accepted: dict[str, float | None], progress: Progress) -> _Results:
        trace, contract = self.trace, runtime.contract
        series: dict[str, list[Array]] = {}
        seconds, reported, step = 0.0, 0, 0
        for step in range(trace.steps):
            if step == 0 or mode == "locked" or step in self._restarts:
                runtime.start(_copies(trace.state_before(step)))
            inputs = _copies(at(trace.inputs, step))
            start_time = time.perf_counter()
            outputs = runtime.step(inputs)
            seconds += time.perf_counter() - start_time
            state = runtime.state()
            where = f"step {step}: "
            _check_unchanged(inputs, at(trace.inputs, step), where)
            check_tensors(contract.outputs, outputs, f"{where}output", {"batch": self.batch})
            check_tensors(contract.states, state, f"{where}state", {"batch": self.batch})
            now = outputs | {spec.next_name: state[spec.name] for spec in contract.states}
            for tensor, array in now.items():
                series.setdefault(tensor, []).append(np.array(array))
            if step + 1 - reported >= PROGRESS_EVERY:
                progress(step + 1 - reported)
                reported = step + 1
            if self.fail_fast and any(differs(self._expected(t)[step], now[t], accepted[t]).any() for t in now):
                break
        progress(trace.steps - reported)
        completed = np.arange(step + 1)
        values = {tensor: np.stack(arrays) for tensor, arrays in series.items()}
        return _Results(step + 1, values, dict.fromkeys(values, completed), seconds)

    def _sequences(self, runtime: Runtime, progress: Progress) -> _Results:
        """Run the trace in a few calls, split at random steps. Each call continues from the state of the previous one."""
        trace, contract = self.trace, runtime.contract
        cuts = self._cuts()
        series: dict[str, list[Array]] = {}
        seconds = 0.0
        for begin, end in itertools.pairwise(map(int, cuts)):
            if begin == 0 or begin in self._restarts:
                runtime.start(_copies(trace.state_before(begin)))
            given = {name: array[begin:end] for name, array in trace.inputs.items()}
            inputs = _copies(given)
            start_time = time.perf_counter()
            outputs = runtime.run(inputs)
            seconds += time.perf_counter() - start_time
            state = runtime.state()
            where = f"steps {begin} to {end - 1}: "
            _check_unchanged(inputs, given, where)
            sizes = {"batch": self.batch, "time": end - begin}
            check_tensors([spec.in_time() for spec in contract.outputs], outputs, f"{where}output", sizes)
            check_tensors(contract.states, state, f"{where}state", {"batch": self.batch})
            for tensor, array in (outputs | {spec.next_name: state[spec.name][None] for spec in contract.states}).items():
                series.setdefault(tensor, []).append(np.array(array))
            progress(end - begin)
        values = {tensor: np.concatenate(arrays) for tensor, arrays in series.items()}
        steps, ends = np.arange(trace.steps), cuts[1:] - 1
        return _Results(trace.steps, values, {t: ends if t.startswith(NEXT) else steps for t in values}, seconds)

    def _cuts(self) -> NDArray[np.int64]:
        """Where the sequence is split: at random steps, each with a chunk of one step behind it, and at restarts."""
        steps = self.trace.steps
        cuts = np.random.default_rng(self.seed).integers(0, steps, CUTS)
        return np.unique(np.concatenate([[0, min(1, steps)], cuts, np.minimum(cuts + 1, steps), [*self._restarts, steps]]))

    def _wrong_step(self, step: int, results: _Results) -> WrongStep:
        return WrongStep(
            step,
            at(self.trace.inputs, step),
            self.trace.state_before(step),
            {name: self._expected(name)[step] for name in results.values},
            at(results.values, step),
        )

    def _error_over_time(self, tensor: str, results: _Results) -> tuple[float, ...]:
        expected, actual = self._expected(tensor)[results.at[tensor]], results.values[tensor]
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs(actual.astype(np.float64) - expected)
        gap[~np.isfinite(gap)] = 0
        return tuple(map(float, gap.reshape(len(gap), -1).max(axis=1)))

    def _first_divergence(
        self,
        runtime: Runtime,
        specs: list[tuple[TensorSpec, str]],
        results: _Results,
        accepted: dict[str, float | None],
    ) -> Divergence:
        candidates: list[tuple[int, int, TensorSpec, str]] = []
        for spec, tensor in specs:
            steps, values = results.at[tensor], results.values[tensor]
            different = differs(self._expected(tensor)[steps], values, accepted[tensor])
            if different.any():
                index = int(different.reshape(len(different), -1).any(axis=1).argmax())
                candidates.append((int(steps[index]), index, spec, tensor))
        # min() returns the first of several tensors that differ at the same step, and spikes come before states.
        step, index, spec, tensor = min(candidates, key=lambda item: item[0])
        expected, actual = self._expected(tensor)[step], results.values[tensor][index]
        element = tuple(int(i) for i in np.argwhere(differs(expected, actual, accepted[tensor]))[0])
        row, neuron = (None, element) if spec.batch_axis is None else (element[0], element[1:])
        compared = self._comparison(spec, step, element)
        is_float = spec.dtype != "bool"
        finite = is_float and bool(np.isfinite(expected[element]) and np.isfinite(actual[element]))
        return Divergence(
            step=step,
            tensor=tensor,
            batch_row=row,
            neuron=neuron,
            expected=number(expected[element]),
            actual=number(actual[element]),
            difference=float(np.float64(actual[element]) - np.float64(expected[element])) if finite else None,
            ulp=int(ulps(actual[element], expected[element])) if finite else None,
            tolerance=accepted[tensor],
            value=compared and number(compared[0]),
            threshold=compared and number(compared[1]),
            ulp_from_threshold=compared and int(ulps(*compared)),
            inputs=self._element(runtime.contract.inputs, at(self.trace.inputs, step), spec, element),
            state_before=self._element(runtime.contract.states, self.trace.state_before(step), spec, element),
            verdict=self._verdict(runtime, spec, expected[element], actual[element], compared),
        )

    @staticmethod
    def _element(
        specs: Iterable[TensorSpec], arrays: Arrays, where: TensorSpec, element: tuple[int, ...]
    ) -> dict[str, Number]:
        """The values of one neuron, of the tensors with the same owner and the same axes."""
        found: dict[str, Number] = {}
        for spec in specs:
            if spec.owner == where.owner and spec.window_axis is None:
                if spec.axes == where.axes:
                    found[spec.name] = number(arrays[spec.name][element])
                elif spec.axes == where.axes[1:] and where.batch_axis == 0:
                    found[spec.name] = number(arrays[spec.name][element[1:]])
        return found

    def _comparison(self, spec: TensorSpec, step: int, element: tuple[int, ...]) -> tuple[Any, Any] | None:
        """The value and the threshold that the reference compared for a spike; None without a reference program."""
        if spec.dtype != "bool" or self.program is None:
            return None
        inputs, state = to_torch(at(self.trace.inputs, step)), to_torch(self.trace.state_before(step))
        compared = self.program.threshold_inputs(inputs, state)
        if spec.name not in compared:
            return None
        value, threshold = compared[spec.name]
        return value.numpy()[element], threshold.expand(value.shape).numpy()[element]

    def _verdict(
        self, runtime: Runtime, spec: TensorSpec, expected: Any, actual: Any, compared: tuple[Any, Any] | None
    ) -> str:
        inexact = roundings_of(runtime.contract, self.links, spec)
        if spec.dtype != "bool":
            if not np.isfinite(actual) and np.isfinite(expected):
                return f"a value is {actual} in the runtime only"
            if spec.name in rounded_tensors(runtime.contract, self.links):
                return f"a value differs by more than the rounding of {_and(inexact)} explains"
            return "a value differs, and the contract names no rounding for it: the bits must be equal"
        if compared is None:
            return "a spike differs"
        value, threshold = compared
        slack = self.tolerance.atol + self.tolerance.rtol * max(abs(value), abs(threshold))
        if inexact and 0 < abs(value - threshold) <= slack:
            return f"a spike differs within the rounding of {_and(inexact)}"
        return "a spike differs, and rounding does not explain it: this is a bug"


def _and(things: Iterable[object]) -> str:
    return " and ".join(map(str, things))


def _copies(arrays: Arrays) -> Arrays:
    return {name: np.array(array) for name, array in arrays.items()}


def _check_unchanged(given: Arrays, original: Arrays, where: str) -> None:
    """Raise InvalidInput if a runtime has written into its inputs, which belong to the caller."""
    for name, array in given.items():
        if not np.array_equal(array, original[name], equal_nan=True):
            raise InvalidInput(f"{where}the runtime wrote into its input '{name}', which belongs to the caller")
