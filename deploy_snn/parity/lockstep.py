"""Lockstep: a runtime beside the reference, step by step, on the same inputs.

*Locked*, it is given the reference's state before each step, so that a difference shows the faulty operation. *Free*, it
keeps its own, as in production, so that a difference shows what it leads to.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from deploy_snn.contract import TensorSpec
from deploy_snn.parity.compare import compare_tensor, differs
from deploy_snn.parity.report import Divergence, Mode, RunReport, Tolerance
from deploy_snn.parity.ulp import ulps
from deploy_snn.program import Program
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Array, Arrays
from deploy_snn.trace import Trace, at, to_torch

PROGRESS_EVERY = 50

Progress = Callable[[int], None]
"""Called with the number of steps just done."""


class Lockstep:
    """Compares runtimes with one recorded run of the reference.

    Args:
        trace: what the reference did.
        program: the reference itself, which tells how far it was from its threshold; None where only the trace is left.
    """

    def __init__(self, trace: Trace, program: Program | None, tolerance: Tolerance, *, fail_fast: bool = False) -> None:
        self.trace = trace
        self.program = program
        self.tolerance = tolerance
        self.fail_fast = fail_fast

    def run(self, name: str, runtime: Runtime, mode: Mode, progress: Progress) -> RunReport:
        """Step one runtime through the whole trace in one mode."""
        trace, contract = self.trace, runtime.contract
        specs = [(spec, spec.name) for spec in contract.outputs] + [(spec, spec.next_name) for spec in contract.states]
        expected = trace.outputs | {spec.next_name: trace.states[spec.name] for spec in contract.states}
        series: dict[str, list[Array]] = {name: [] for _, name in specs}
        runtime.check(at(trace.inputs, 0), trace.start)
        runtime.start(trace.start)
        seconds, reported = 0.0, 0
        for step in range(trace.steps):
            if mode == "locked" and step:
                runtime.start(trace.state_before(step))
            begun = time.perf_counter()
            outputs = runtime.step(at(trace.inputs, step))
            seconds += time.perf_counter() - begun
            now = outputs | {spec.next_name: array for spec in contract.states for array in (runtime.state()[spec.name],)}
            for tensor, array in now.items():
                series[tensor].append(array)
            if step - reported >= PROGRESS_EVERY:
                progress(step - reported)
                reported = step
            if self.fail_fast and any(differs(expected[t][step], now[t], self.tolerance).any() for t in now):
                break
        actual = {name: np.stack(arrays) for name, arrays in series.items()}
        progress(trace.steps - reported)
        tensors = tuple(compare_tensor(spec, name, expected[name], actual[name], self.tolerance) for spec, name in specs)
        equal = not any(tensor.differing for tensor in tensors)
        return RunReport(
            runtime=name,
            mode=mode,
            steps=step + 1,
            equal=equal,
            tensors=tensors,
            divergence=None if equal else self._first_divergence(specs, expected, actual),
            microseconds_a_step=seconds / (step + 1) * 1e6,
        )

    def _first_divergence(self, specs: list[tuple[TensorSpec, str]], expected: Arrays, actual: Arrays) -> Divergence:
        found: list[tuple[int, TensorSpec, str]] = []
        for spec, name in specs:
            bad = differs(expected[name][: len(actual[name])], actual[name], self.tolerance)
            if bad.any():
                found.append((int(bad.reshape(len(bad), -1).any(axis=1).argmax()), spec, name))
        step, spec, name = min(found, key=lambda item: item[0])  # of one step's, the first: spikes come before states
        bad = differs(expected[name][step], actual[name][step], self.tolerance)
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        row, neuron = (None, place) if spec.batch_axis is None else (place[0], place[1:])
        seen = self._comparison(spec, step, place)
        return Divergence(
            step=step,
            tensor=name,
            batch_row=row,
            neuron=neuron,
            expected=expected[name][step][place].item(),
            actual=actual[name][step][place].item(),
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
        value, threshold = self.program.crossing(inputs, state)[spec.name]
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
            return f"a spike flipped within the rounding of {' and '.join(inexact)}"
        return "a spike differs, and no rounding explains it: a bug"
