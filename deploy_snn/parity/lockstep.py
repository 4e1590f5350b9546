"""Lockstep: a runtime beside the reference, step by step, on the same inputs.

*Locked*, it is given the reference's state before each step, so that a difference shows the faulty operation. *Free*, it
keeps its own, as in production, so that a difference shows what it leads to. As a *sequence*, it takes the steps in a few
calls, cut at random places.
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
"""Called with the number of steps just done."""


@dataclass(frozen=True)
class _Recording:
    """What a runtime did: for each tensor its values, and the steps that they are of."""

    steps: int
    values: Arrays
    at: dict[str, NDArray[np.int64]]
    seconds: float


class Lockstep:
    """Compares runtimes with one recorded run of the reference.

    Args:
        trace: what the reference did.
        program: the reference itself, which tells how far it was from its threshold; None where only the trace is left.
        tolerance: how far floats may be apart.
        fail_fast: whether a run ends with the first difference.
        seed: where sequences are cut.
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
        """Take one runtime through the whole trace in one mode."""
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
        """What the reference gave, for an output or a ``next.`` state."""
        return self.trace.states[tensor.removeprefix(NEXT)] if tensor.startswith(NEXT) else self.trace.outputs[tensor]

    def _steps(self, runtime: Runtime, mode: Mode, progress: Progress) -> _Recording:
        trace, states = self.trace, runtime.contract.states
        series: dict[str, list[Array]] = {}
        seconds, reported, step = 0.0, 0, 0
        for step in range(trace.steps):
            if mode == "locked" and step:
                runtime.start(trace.state_before(step))
            inputs = at(trace.inputs, step)
            begun = time.perf_counter()
            outputs = runtime.step(inputs)
            seconds += time.perf_counter() - begun
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
        done = np.arange(step + 1)
        values = {tensor: np.stack(arrays) for tensor, arrays in series.items()}
        return _Recording(step + 1, values, dict.fromkeys(values, done), seconds)

    def _sequences(self, runtime: Runtime, progress: Progress) -> _Recording:
        """In few calls, cut at random places, each going on from the state that the one before left."""
        trace, states = self.trace, runtime.contract.states
        rng = np.random.default_rng(self.seed)
        cuts = np.unique(np.concatenate([rng.integers(0, trace.steps, CUTS), [0, trace.steps]]))
        series: dict[str, list[Array]] = {}
        seconds = 0.0
        for begin, end in itertools.pairwise(cuts):
            inputs = {name: array[begin:end] for name, array in trace.inputs.items()}
            begun = time.perf_counter()
            outputs = runtime.run(inputs)
            seconds += time.perf_counter() - begun
            state = runtime.state()
            for tensor, array in (outputs | {spec.next_name: state[spec.name][None] for spec in states}).items():
                series.setdefault(tensor, []).append(array)
            progress(int(end - begin))
        values = {tensor: np.concatenate(arrays) for tensor, arrays in series.items()}
        steps, ends = np.arange(trace.steps), cuts[1:] - 1
        return _Recording(trace.steps, values, {t: ends if t.startswith(NEXT) else steps for t in values}, seconds)

    def _first_divergence(self, specs: list[tuple[TensorSpec, str]], recorded: _Recording) -> Divergence:
        found: list[tuple[int, int, TensorSpec, str]] = []
        for spec, tensor in specs:
            steps, values = recorded.at[tensor], recorded.values[tensor]
            bad = differs(self._expected(tensor)[steps], values, self.tolerance)
            if bad.any():
                index = int(bad.reshape(len(bad), -1).any(axis=1).argmax())
                found.append((int(steps[index]), index, spec, tensor))
        # Of one step's tensors the first: spikes come before states.
        step, index, spec, tensor = min(found, key=lambda item: item[0])
        expected, actual = self._expected(tensor)[step], recorded.values[tensor][index]
        place = tuple(int(i) for i in np.argwhere(differs(expected, actual, self.tolerance))[0])
        row, neuron = (None, place) if spec.batch_axis is None else (place[0], place[1:])
        seen = self._comparison(spec, step, place)
        return Divergence(
            step=step,
            tensor=tensor,
            batch_row=row,
            neuron=neuron,
            expected=expected[place].item(),
            actual=actual[place].item(),
            value=seen and seen[0].item(),
            threshold=seen and seen[1].item(),
            ulp_from_threshold=seen and int(ulps(*seen)),
            verdict=self._verdict(spec, seen),
        )

    def _comparison(self, spec: TensorSpec, step: int, place: tuple[int, ...]) -> tuple[Any, Any] | None:
        """The value and threshold that the reference compared there, if this is a spike and the reference is at hand."""
        if spec.dtype != "bool" or self.program is None:
            return None
        inputs, state = to_torch(at(self.trace.inputs, step)), to_torch(self.trace.state_before(step))
        value, threshold = self.program.threshold_inputs(inputs, state)[spec.name]
        return value.numpy()[place], threshold.expand(value.shape).numpy()[place]

    def _verdict(self, spec: TensorSpec, seen: tuple[Any, Any] | None) -> str:
        if spec.dtype != "bool":
            return "a value is off by more than the tolerance"
        if seen is None or self.program is None:
            return "a spike differs"
        value, threshold = seen
        slack = self.tolerance.atol + self.tolerance.rtol * abs(threshold)
        inexact = self.program.contract.rounding
        if inexact and 0 < abs(value - threshold) <= slack:
            return f"a spike flipped within the rounding of {' and '.join(map(str, inexact))}"
        return "a spike differs, and no rounding explains it: a bug"
