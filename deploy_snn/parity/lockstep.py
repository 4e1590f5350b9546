"""Lockstep: run a runtime step by step on the inputs of the reference, and compare.

In *locked* mode the runtime starts each step from the reference's state, so a difference points to the faulty operation. In
*free* mode it keeps its own state, as in production, so a difference shows its consequences. In *sequence* mode it runs the
steps in a few calls, which split the sequence at random steps.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_snn.bundle.trace import Trace, at
from deploy_snn.contract import NEXT, TensorSpec
from deploy_snn.eager import to_torch
from deploy_snn.parity.compare import compare_tensor, differs
from deploy_snn.parity.report import Divergence, Mode, RunReport, Tolerance
from deploy_snn.parity.ulp import ulps
from deploy_snn.program import Program
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Array, Arrays

PROGRESS_EVERY = 50
CUTS = 4

Progress = Callable[[int], None]
"""A callback that receives the number of steps completed since its last call."""


@dataclass(frozen=True)
class _Recording:
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
        tolerance: the tolerance for floats.
        fail_fast: whether to stop a run at the first difference.
        seed: seed of the steps at which sequences are split.
    """

    def __init__(
        self, trace: Trace, program: Program | None, tolerance: Tolerance, *, fail_fast: bool = False, seed: int = 0
    ) -> None:
        self.trace = trace
        self.program = program
        self.tolerance = tolerance
        self.fail_fast = fail_fast
        self.seed = seed

    def run(self, name: str, runtime: Runtime, mode: Mode, progress: Progress) -> RunReport:
        """Run one runtime over the whole trace in one mode, and compare."""
        contract = runtime.contract
        specs = [(spec, spec.name) for spec in contract.outputs] + [(spec, spec.next_name) for spec in contract.states]
        runtime.check(at(self.trace.inputs, 0), self.trace.start)
        runtime.start(self.trace.start)
        recorded = self._sequences(runtime, progress) if mode == "sequence" else self._steps(runtime, mode, progress)
        tensors = tuple(
            compare_tensor(
                spec, tensor, self._expected(tensor)[recorded.at[tensor]], recorded.values[tensor], self.tolerance
            )
            for spec, tensor in specs
        )
        equal = not any(tensor.differing for tensor in tensors)
        return RunReport(
            runtime=name,
            mode=mode,
            steps=recorded.steps,
            equal=equal,
            tensors=tensors,
            divergence=None if equal else self._first_divergence(specs, recorded),
            microseconds_a_step=recorded.seconds / recorded.steps * 1e6,
        )

    def _expected(self, tensor: str) -> Array:
        """The reference's values of an output or of a ``next.`` state."""
        return self.trace.states[tensor.removeprefix(NEXT)] if tensor.startswith(NEXT) else self.trace.outputs[tensor]

    def _steps(self, runtime: Runtime, mode: Mode, progress: Progress) -> _Recording:
        trace, states = self.trace, runtime.contract.states
        series: dict[str, list[Array]] = {}
        seconds, reported, step = 0.0, 0, 0
        for step in range(trace.steps):
            if mode == "locked" and step:
                runtime.start(trace.state_before(step))
            inputs = at(trace.inputs, step)
            start_time = time.perf_counter()
            outputs = runtime.step(inputs)
            seconds += time.perf_counter() - start_time
            state = runtime.state()
            now = outputs | {spec.next_name: state[spec.name] for spec in states}
            for tensor, array in now.items():
                series.setdefault(tensor, []).append(array)
            if step + 1 - reported >= PROGRESS_EVERY:
                progress(step + 1 - reported)
                reported = step + 1
            if self.fail_fast and any(differs(self._expected(t)[step], now[t], self.tolerance).any() for t in now):
                break
        progress(trace.steps - reported)
        completed = np.arange(step + 1)
        values = {tensor: np.stack(arrays) for tensor, arrays in series.items()}
        return _Recording(step + 1, values, dict.fromkeys(values, completed), seconds)

    def _sequences(self, runtime: Runtime, progress: Progress) -> _Recording:
        """Run the trace in a few calls, split at random steps. Each call continues from the state of the previous one."""
        trace, states = self.trace, runtime.contract.states
        rng = np.random.default_rng(self.seed)
        cuts = np.unique(np.concatenate([rng.integers(0, trace.steps, CUTS), [0, trace.steps]]))
        series: dict[str, list[Array]] = {}
        seconds = 0.0
        for begin, end in itertools.pairwise(cuts):
            inputs = {name: array[begin:end] for name, array in trace.inputs.items()}
            start_time = time.perf_counter()
            outputs = runtime.run(inputs)
            seconds += time.perf_counter() - start_time
            state = runtime.state()
            for tensor, array in (outputs | {spec.next_name: state[spec.name][None] for spec in states}).items():
                series.setdefault(tensor, []).append(array)
            progress(int(end - begin))
        values = {tensor: np.concatenate(arrays) for tensor, arrays in series.items()}
        steps, ends = np.arange(trace.steps), cuts[1:] - 1
        return _Recording(trace.steps, values, {t: ends if t.startswith(NEXT) else steps for t in values}, seconds)

    def _first_divergence(self, specs: list[tuple[TensorSpec, str]], recorded: _Recording) -> Divergence:
        candidates: list[tuple[int, int, TensorSpec, str]] = []
        for spec, tensor in specs:
            steps, values = recorded.at[tensor], recorded.values[tensor]
            different = differs(self._expected(tensor)[steps], values, self.tolerance)
            if different.any():
                index = int(different.reshape(len(different), -1).any(axis=1).argmax())
                candidates.append((int(steps[index]), index, spec, tensor))
        # min() returns the first of several tensors that differ at the same step, and spikes come before states.
        step, index, spec, tensor = min(candidates, key=lambda item: item[0])
        expected, actual = self._expected(tensor)[step], recorded.values[tensor][index]
        element = tuple(int(i) for i in np.argwhere(differs(expected, actual, self.tolerance))[0])
        row, neuron = (None, element) if spec.batch_axis is None else (element[0], element[1:])
        compared = self._comparison(spec, step, element)
        return Divergence(
            step=step,
            tensor=tensor,
            batch_row=row,
            neuron=neuron,
            expected=expected[element].item(),
            actual=actual[element].item(),
            value=compared and compared[0].item(),
            threshold=compared and compared[1].item(),
            ulp_from_threshold=compared and int(ulps(*compared)),
            verdict=self._verdict(spec, compared),
        )

    def _comparison(self, spec: TensorSpec, step: int, element: tuple[int, ...]) -> tuple[Any, Any] | None:
        """The value and the threshold that the reference compared for a spike; None without a reference program."""
        if spec.dtype != "bool" or self.program is None:
            return None
        inputs, state = to_torch(at(self.trace.inputs, step)), to_torch(self.trace.state_before(step))
        value, threshold = self.program.threshold_inputs(inputs, state)[spec.name]
        return value.numpy()[element], threshold.expand(value.shape).numpy()[element]

    def _verdict(self, spec: TensorSpec, compared: tuple[Any, Any] | None) -> str:
        if spec.dtype != "bool":
            return "a value differs by more than the tolerance"
        if compared is None or self.program is None:
            return "a spike differs"
        value, threshold = compared
        slack = self.tolerance.atol + self.tolerance.rtol * abs(threshold)
        inexact = self.program.contract.rounding
        if inexact and 0 < abs(value - threshold) <= slack:
            return f"a spike differs within the rounding of {' and '.join(map(str, inexact))}"
        return "a spike differs, and rounding does not explain it: this is a bug"
