"""Compare what hosts start from with the reference: the initial state, in its file and in models, and the golden trace."""

from collections.abc import Callable

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.bundle import GOLDEN, INITIAL_STATE
from deploy_snn.bundle.trace import Trace, at
from deploy_snn.contract import Contract, check_tensors
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.parity.compare import compare_tensor, differs, number
from deploy_snn.parity.lockstep import Lockstep
from deploy_snn.parity.recording import record_reference
from deploy_snn.parity.report import Divergence, RunReport, Tolerance
from deploy_snn.parity.stimulus import Stimulus
from deploy_snn.program import Program
from deploy_snn.runtimes import Runtime
from deploy_snn.tensors import Arrays


def compare_initial_state(name: str, program: Program, batch: int, initial_state: Callable[[int], Arrays]) -> RunReport:
    """Compare ``initial_state(batch)`` of a file or a model with that of the program, bit by bit."""
    expected = to_numpy(program.initial_state(batch))
    try:
        actual = initial_state(batch)
        sizes = {"batch": batch}
        check_tensors(program.contract.states, actual, "initial state", sizes)
    except Exception as error:  # noqa: BLE001  (whatever happens inside a model is its result)
        return RunReport(runtime=name, mode="initial state", batch=batch, steps=0, equal=False, error=first_line(error))
    tensors, divergence = [], None
    for spec in program.contract.states:
        e, a = expected[spec.name], actual[spec.name]
        tensors.append(compare_tensor(spec, spec.name, e[None], a[None]))
        if tensors[-1].differing and divergence is None:
            element = tuple(int(i) for i in np.argwhere(differs(e, a, None))[0])
            row, neuron = (None, element) if spec.batch_axis is None else (element[0], element[1:])
            divergence = Divergence(
                step=0,
                tensor=spec.name,
                batch_row=row,
                neuron=neuron,
                expected=number(e[element]),
                actual=number(a[element]),
                verdict="a host would start from another state than the reference",
            )
    return RunReport(
        runtime=name,
        mode="initial state",
        batch=batch,
        steps=1,
        equal=divergence is None,
        tensors=tuple(tensors),
        divergence=divergence,
    )


def compare_files(bundle: Bundle, program: Program, batches: tuple[int, ...], tolerance: Tolerance) -> list[RunReport]:
    """Compare the bundle's initial state and its golden trace, if it has one, with the program."""
    reports = [compare_initial_state(INITIAL_STATE, program, batch, bundle.initial_state) for batch in batches]
    if GOLDEN in bundle.manifest.files:
        reports.append(_compare_golden(bundle, program, tolerance))
    return reports


def _compare_golden(bundle: Bundle, program: Program, tolerance: Tolerance) -> RunReport:
    try:
        golden = bundle.golden()
        sizes = check_tensors((spec.in_time() for spec in program.contract.inputs), golden.inputs, "golden input")
        check_tensors(program.contract.states, golden.start, "golden initial state", {"batch": sizes["batch"]})
        for specs, arrays in ((program.contract.outputs, golden.outputs), (program.contract.states, golden.states)):
            check_tensors((spec.in_time() for spec in specs), arrays, "golden tensor", sizes)
    except InvalidInput as error:
        return RunReport(runtime=GOLDEN, mode="golden trace", steps=0, equal=False, error=str(error))
    start = compare_initial_state(GOLDEN, program, sizes["batch"], lambda _: golden.start)
    if not start.equal:
        return start.model_copy(update={"mode": "golden trace"})
    recording = record_reference(program, Stimulus(GOLDEN, golden.inputs, golden.start))
    report = Lockstep(recording, program, tolerance).run(GOLDEN, Replay(program.contract, golden), "golden trace")
    return report.model_copy(update={"batch": sizes["batch"]})


class Replay(Runtime):
    """A recorded trace as a runtime: each step returns what was recorded, whatever the inputs are."""

    files = ()

    def __init__(self, contract: Contract, trace: Trace) -> None:
        self.contract = contract
        self._trace = trace
        self._next = 0

    def start(self, state: Arrays) -> None:
        self._next = 0

    def step(self, inputs: Arrays) -> Arrays:
        self._next += 1
        return at(self._trace.outputs, self._next - 1)

    def run(self, inputs: Arrays) -> Arrays:
        begin = self._next
        self._next += len(next(iter(inputs.values())))
        return {name: array[begin : self._next] for name, array in self._trace.outputs.items()}

    def state(self) -> Arrays:
        return at(self._trace.states, self._next - 1)
