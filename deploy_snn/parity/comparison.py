"""The comparison of one bundle: its reference, stimuli, and each runtime in each mode."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import Trace
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.parity.artifacts import compare_files, compare_initial_state
from deploy_snn.parity.compare import events
from deploy_snn.parity.coverage import Coverage
from deploy_snn.parity.denormal import denormal
from deploy_snn.parity.exactness import Link, links_of
from deploy_snn.parity.lockstep import Lockstep, Progress
from deploy_snn.parity.recording import freeze, record_reference
from deploy_snn.parity.report import Mode, ModelReport, RunReport, Skipped, StimulusReport, Tolerance
from deploy_snn.parity.reproducer import STEP, write_reproducer
from deploy_snn.parity.signed_zero import signed_zero
from deploy_snn.parity.stimulus import Request, Stimulus, from_file, from_pattern
from deploy_snn.parity.threshold import threshold
from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.registry import RUNTIMES, STIMULI
from deploy_snn.runtimes import Runtime, find_runtime, unavailable_reason
from deploy_snn.runtimes.find import default_runtimes
from deploy_snn.tensors import TENSORS

GOLDEN = "golden"
MODES: tuple[Mode, ...] = ("locked", "free", "sequence")
BUILT: dict[str, Callable[[Request], Stimulus]] = {"threshold": threshold, "denormal": denormal, "signed-zero": signed_zero}
"""The stimuli that are built while the reference runs."""
NAMES = (*STIMULI, *BUILT, GOLDEN)
DEFAULT_STIMULI = ("poisson", "threshold")
"""Together they reach the branches of every neuron class."""
DEFAULT_STEPS = 200
DEFAULT_BATCH = 3
"""Three rows: with fewer, reversed or shifted rows could look the same."""


@dataclass(frozen=True)
class Plan:
    """The settings of a comparison. ``runtimes=None`` compares all that can run here, and lists the others; not
    those that are known to be inexact, which are compared on request only.

    ``stimulus=None`` uses "poisson", and "threshold" where the model allows it. ``stimulus``, ``batch`` and ``seed`` are
    one value or several, and every combination is compared.
    """

    runtimes: Sequence[str] | None = None
    modes: Sequence[Mode] = MODES
    stimulus: str | Sequence[str] | None = None
    steps: int = DEFAULT_STEPS
    batch: int | Sequence[int] = DEFAULT_BATCH
    seed: int | Sequence[int] = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    fail_fast: bool = False
    definition: Path | None = None
    """The Python file with the user's own classes, if the model has any."""
    explain: bool = False
    """Whether to name the first wrong node of an ONNX graph, which needs a new export."""
    dump: Path | None = None
    """A folder for reproducers: one wrong step for each runtime that reads ONNX."""

    def __post_init__(self) -> None:
        """Raise InvalidInput for an unknown stimulus, and for sizes of less than one."""
        for name in self.stimuli:
            _check_name(name)
        for batch in self.batches:
            if self.steps < 1 or batch < 1:
                raise InvalidInput(f"steps={self.steps}, batch={batch}: expected at least 1 for both")

    @property
    def stimuli(self) -> tuple[str, ...]:
        if self.stimulus is None:
            return DEFAULT_STIMULI
        return (self.stimulus,) if isinstance(self.stimulus, str) else tuple(self.stimulus)

    @property
    def batches(self) -> tuple[int, ...]:
        return (self.batch,) if isinstance(self.batch, int) else tuple(self.batch)

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,) if isinstance(self.seed, int) else tuple(self.seed)

    def cases(self) -> list[tuple[str, int, int]]:
        """Every combination of stimulus, batch and seed. A recorded stimulus has a batch of its own and no seed."""
        found = []
        for name in self.stimuli:
            recorded = name == GOLDEN or name.endswith(TENSORS)
            batches, seeds = (self.batches[:1], self.seeds[:1]) if recorded else (self.batches, self.seeds)
            found += [(name, batch, seed) for batch in batches for seed in seeds]
        return found


@dataclass(frozen=True)
class Reference:
    """One recorded run of the reference, and how it came about."""

    report: StimulusReport
    lockstep: Lockstep


def make_stimulus(name: str, request: Request) -> Stimulus:
    """Build a stimulus by name, or read it from a .safetensors file. Raises InvalidInput for an unknown name."""
    if request.steps < 1 or request.batch < 1:
        raise InvalidInput(f"steps={request.steps}, batch={request.batch}: expected at least 1 for both")
    if name in STIMULI:
        return from_pattern(name, request)
    if name in BUILT:
        return BUILT[name](request)
    _check_name(name)
    return from_file(Path(name), request)


def _check_name(name: str) -> None:
    if name not in NAMES and not name.endswith(TENSORS):
        raise InvalidInput(
            f"unknown stimulus '{name}'; choose from {', '.join(NAMES)}, or pass the path of a .safetensors file"
        )


class References:
    """The recorded runs of one reference program on all stimuli of a plan, with the coverage of all of them."""

    def __init__(self, plan: Plan, program: Program | None, *, golden: Trace | None = None) -> None:
        self.plan = plan
        self.program = program
        self.coverage = Coverage()
        self.skipped: list[Skipped] = []
        self._golden = golden

    def each(self, links: tuple[Link, ...] | None) -> Iterator[Reference]:
        """Record the runs, one after the other."""
        for name, batch, seed in self.plan.cases():
            if name == GOLDEN:
                assert self._golden is not None
                freeze(self._golden)
                yield self._reference(name, seed, self._golden, {}, links)
                continue
            assert self.program is not None
            try:
                stimulus = make_stimulus(name, Request(self.program, self.plan.steps, batch, seed))
            except InvalidInput as error:
                if self.plan.stimulus is not None or name != "threshold":
                    raise
                self.skipped.append(Skipped(what=f"stimulus {name}", reason=str(error)))
                continue
            trace = record_reference(self.program, stimulus, self.coverage)
            yield self._reference(name, seed, trace, stimulus.remarks, links)

    def _reference(
        self, name: str, seed: int, trace: Trace, remarks: dict[str, int], links: tuple[Link, ...] | None
    ) -> Reference:
        plan = self.plan
        program = None if name == GOLDEN else self.program
        lockstep = Lockstep(trace, program, plan.tolerance, fail_fast=plan.fail_fast, seed=seed, links=links)
        report = StimulusReport(
            stimulus=name,
            batch=lockstep.batch,
            seed=seed,
            steps=trace.steps,
            spikes=sum(int(s.sum()) for s in trace.spikes),
            firing_rate=float(np.mean([s.mean() for s in trace.spikes])) if trace.spikes else 0.0,
            remarks=remarks,
            raster={name: events(array, 0) for name, array in trace.outputs.items() if array.dtype == np.bool_},
        )
        return Reference(report, lockstep)


def compare_runtimes(bundle: Bundle, plan: Plan, progress: Progress = lambda _: None) -> ModelReport:
    """Compare every runtime in every mode with eager torch or, for the stimulus "golden", with the golden trace.

    The bundle's initial state and golden trace are compared with eager torch, too. An exception in a runtime is the result
    of its run. Raises InvalidInput for an invalid bundle or stimulus, and Unavailable for a requested runtime that cannot
    run here.
    """
    needs_program = any(name != GOLDEN for name in plan.stimuli)
    skipped: list[Skipped] = []
    runs: list[RunReport] = []
    program: Program | None = None
    try:
        program = reference_program(bundle, plan.definition)
    except InvalidInput as error:
        if needs_program:
            raise
        skipped.append(Skipped(what="initial state and golden trace", reason=str(error)))
    opened = _open(bundle, plan, skipped, runs)
    if program is not None:
        runs += compare_files(bundle, program, plan.batches, plan.tolerance)
        for name, runtime in opened.items():
            for batch in plan.batches if runtime.has_initial_state else ():
                runs.append(compare_initial_state(name, program, batch, runtime.initial_state))
    references = References(plan, program, golden=bundle.golden() if GOLDEN in plan.stimuli else None)
    stimuli = []
    explain = _Explain(bundle, program, plan)
    for reference in references.each(links_of(bundle.manifest.structure)):
        stimuli.append(reference.report)
        runs += compare_all(opened, reference, plan, skipped, progress, explain)
        if plan.fail_fast and not all(run.equal for run in runs):
            break
    return ModelReport(
        model=bundle.manifest.name,
        reference="eager torch" if needs_program else "the golden trace",
        tolerance=plan.tolerance,
        stimuli=tuple(stimuli),
        runs=tuple(runs),
        skipped=(*skipped, *references.skipped),
        coverage=references.coverage.items(),
        silent=references.coverage.silent,
        files={name: record.sha256 for name, record in bundle.manifest.files.items()},
    )


def compare_all(  # noqa: PLR0917  (the lists are what a comparison adds to)
    opened: dict[str, Runtime],
    reference: Reference,
    plan: Plan,
    skipped: list[Skipped],
    progress: Progress,
    explain: Callable[[RunReport, Lockstep], RunReport] = lambda report, _: report,
) -> list[RunReport]:
    """Compare the open runtimes with one recorded run. A runtime that cannot run the model is closed and listed.

    ``explain`` adds to the report of a run that differs.
    """
    runs = []
    labels = reference.report.model_dump(include={"stimulus", "batch", "seed"})
    for name, runtime in list(opened.items()):
        for mode in plan.modes:
            try:
                report = reference.lockstep.run(name, runtime, mode, progress)
            except Unavailable as error:
                skipped.append(Skipped(what=name, reason=str(error), requested=plan.runtimes is not None))
                del opened[name]
                break
            runs.append(explain(report.model_copy(update=labels), reference.lockstep))
            if plan.fail_fast and not report.equal:
                return runs
    return runs


@dataclass(frozen=True)
class _Explain:
    """Explains the first wrong step of each runtime that reads ONNX: names the first wrong node, writes a reproducer."""

    bundle: Bundle
    program: Program | None
    plan: Plan
    seen: set[str] = field(default_factory=set)

    def __call__(self, report: RunReport, lockstep: Lockstep) -> RunReport:
        wrong, divergence = lockstep.wrong_step, report.divergence
        reads_onnx = report.runtime in RUNTIMES and STEP in RUNTIMES[report.runtime].files
        if report.mode != "locked" or wrong is None or divergence is None or not reads_onnx or report.runtime in self.seen:
            return report
        self.seen.add(report.runtime)
        if self.plan.dump is not None:
            write_reproducer(self.plan.dump / f"{self.bundle.name}-{report.runtime}", self.bundle, wrong)
        if not self.plan.explain or self.program is None:
            return report
        # The ONNX exporter takes 0.4 s to import, and only a mismatch needs it.
        from deploy_snn.parity.first_node import first_wrong_node  # noqa: PLC0415

        node = first_wrong_node(self.bundle, self.program, wrong)
        return report.model_copy(update={"divergence": divergence.model_copy(update={"node": node})})


def _open(bundle: Bundle, plan: Plan, skipped: list[Skipped], runs: list[RunReport]) -> dict[str, Runtime]:
    """Open the runtimes of a plan. Those that cannot be compared are listed with the reason."""
    requested = plan.runtimes is not None
    opened: dict[str, Runtime] = {}
    for name in plan.runtimes if plan.runtimes is not None else default_runtimes():
        reason = None if requested else unavailable_reason(name, bundle)
        runtime = None if reason else find_runtime(name, bundle)
        if runtime is not None:
            missing = [file for file in runtime.files if file not in bundle.manifest.files]
            reason = f"the bundle has no {' and no '.join(missing)}" if missing else None
        if reason or runtime is None:
            skipped.append(Skipped(what=name, reason=str(reason), requested=requested))
            continue
        try:
            opened[name] = runtime(bundle)
        except Unavailable as error:
            skipped.append(Skipped(what=name, reason=str(error), requested=requested))
        except Exception as error:  # noqa: BLE001  (whatever happens in a runtime is its result)
            message = str(error) if isinstance(error, InvalidInput) else f"{type(error).__name__}: {first_line(error)}"
            runs += [RunReport(runtime=name, mode=mode, steps=0, equal=False, error=message) for mode in plan.modes]
    return opened


def verify(
    bundle: Bundle | str | Path,
    *,
    runtimes: Sequence[str] | None = None,
    modes: Sequence[Mode] = MODES,
    stimulus: str | Sequence[str] | None = None,
    steps: int = DEFAULT_STEPS,
    batch: int | Sequence[int] = DEFAULT_BATCH,
    seed: int | Sequence[int] = 0,
    tolerance: Tolerance | None = None,
    definition: str | Path | None = None,
) -> ModelReport:
    """Compare every runtime with eager torch, step by step, as ``deploy-snn parity`` does.

    Args:
        bundle: a bundle, or the path of its folder.
        runtimes: names of runtimes. By default all that can run here.
        modes: "locked", "free", "sequence".
        stimulus: "poisson", "constant", "ramp", "digits", "threshold", "denormal", "signed-zero", "golden", or the path
            of a .safetensors file; one or several. By default "poisson" and, where the model allows it, "threshold".
        steps: number of steps to compare, for each stimulus.
        batch: number of rows, or several such numbers.
        seed: seed of the stimulus, or several.
        tolerance: tolerance for the floats that a rounding of the contract reaches. All others must be equal.
        definition: the Python file that defines the user's own classes, for a model that has any.

    Returns:
        The report. ``report.equal`` is True if all runs were equal. ``report.uncovered`` lists what was not exercised.

    Raises:
        InvalidInput: for an invalid bundle or stimulus.
        Unavailable: for a runtime that cannot run here.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    plan = Plan(
        runtimes=list(runtimes) if runtimes is not None else None,
        modes=modes,
        stimulus=stimulus,
        steps=steps,
        batch=batch,
        seed=seed,
        definition=Path(definition) if definition is not None else None,
    )
    return compare_runtimes(opened, plan if tolerance is None else replace(plan, tolerance=tolerance))
