"""The comparison of one bundle: its reference, a stimulus, and each runtime in each mode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import Trace
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.lockstep import Lockstep, Progress
from deploy_snn.parity.report import Mode, ModelReport, RunReport, Tolerance
from deploy_snn.parity.stimulus import Request, Stimulus, from_file, from_pattern
from deploy_snn.parity.threshold import threshold
from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.registry import STIMULI
from deploy_snn.runtimes import find_runtime, usable_runtimes
from deploy_snn.tensors import TENSORS

GOLDEN = "golden"
MODES: tuple[Mode, ...] = ("locked", "free", "sequence")
NAMES = (*STIMULI, "threshold", GOLDEN)


@dataclass(frozen=True)
class Plan:
    """The settings of a comparison."""

    runtimes: Sequence[str]
    modes: Sequence[Mode] = MODES
    stimulus: str = "poisson"
    steps: int = 1000
    batch: int = 1
    seed: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    fail_fast: bool = False
    definition: Path | None = None
    """The Python file with the user's own classes, if the model has any."""

    @property
    def runs(self) -> int:
        return len(self.runtimes) * len(self.modes)


def make_stimulus(name: str, request: Request) -> Stimulus:
    """Build a stimulus by name, or read it from a .safetensors file. Raises InvalidInput for an unknown name."""
    if request.steps < 1 or request.batch < 1:
        raise InvalidInput(f"steps={request.steps}, batch={request.batch}: expected at least 1 for both")
    if name in STIMULI:
        return from_pattern(name, request)
    if name == "threshold":
        return threshold(request)
    if name.endswith(TENSORS):
        return from_file(Path(name), request)
    raise InvalidInput(
        f"unknown stimulus '{name}'; choose from {', '.join(NAMES)}, or pass the path of a .safetensors file"
    )


def reference_run(program: Program, stimulus: Stimulus) -> Trace:
    """Run eager torch on a stimulus and record it."""
    return record(program, stimulus.inputs, stimulus.start)


def compare_runtimes(bundle: Bundle, plan: Plan, progress: Progress = lambda _: None) -> ModelReport:
    """Compare every runtime in every mode with eager torch or, for the stimulus "golden", with the golden trace.

    Raises InvalidInput for an invalid bundle or stimulus, and Unavailable for a runtime that cannot run here.
    """
    runtimes = {name: find_runtime(name) for name in plan.runtimes}
    program: Program | None = None
    if plan.stimulus == GOLDEN:
        trace, remarks, reference = bundle.golden(), dict[str, int](), "the golden trace"
    else:
        program = reference_program(bundle, plan.definition)
        stimulus = make_stimulus(plan.stimulus, Request(program, plan.steps, plan.batch, plan.seed))
        trace, remarks, reference = reference_run(program, stimulus), stimulus.remarks, "eager torch"
    lockstep = Lockstep(trace, program, plan.tolerance, fail_fast=plan.fail_fast, seed=plan.seed)

    def runs() -> Iterator[RunReport]:
        for name, runtime in runtimes.items():
            opened = runtime(bundle)
            for mode in plan.modes:
                report = lockstep.run(name, opened, mode, progress)
                yield report
                if plan.fail_fast and not report.equal:
                    return

    return ModelReport(
        model=bundle.manifest.name,
        stimulus=plan.stimulus,
        steps=trace.steps,
        batch=next(iter(trace.inputs.values())).shape[1],
        seed=plan.seed,
        reference=reference,
        spikes=sum(int(s.sum()) for s in trace.spikes),
        firing_rate=float(np.mean([s.mean() for s in trace.spikes])) if trace.spikes else 0.0,
        remarks=remarks,
        tolerance=plan.tolerance,
        runs=tuple(runs()),
    )


def verify(
    bundle: Bundle | str | Path,
    *,
    runtimes: Sequence[str] | None = None,
    modes: Sequence[Mode] = MODES,
    stimulus: str = "poisson",
    steps: int = 1000,
    batch: int = 1,
    seed: int = 0,
    tolerance: Tolerance | None = None,
    definition: str | Path | None = None,
) -> ModelReport:
    """Compare every runtime with eager torch, step by step, as ``deploy-snn parity`` does.

    Args:
        bundle: a bundle, or the path of its folder.
        runtimes: names of runtimes. By default all that can run here.
        modes: "locked", "free", "sequence".
        stimulus: "poisson", "constant", "ramp", "digits", "threshold", "golden", or the path of a .safetensors file.
        steps: number of steps to compare.
        batch: number of rows.
        seed: seed of the stimulus.
        tolerance: tolerance for floats; by default 1e-5, absolute and relative.
        definition: the Python file that defines the user's own classes, for a model that has any.

    Returns:
        The report. ``report.equal`` is True if all runs were equal.

    Raises:
        InvalidInput: for an invalid bundle or stimulus.
        Unavailable: for a runtime that cannot run here.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    plan = Plan(
        runtimes=list(runtimes) if runtimes is not None else usable_runtimes(opened),
        modes=modes,
        stimulus=stimulus,
        steps=steps,
        batch=batch,
        seed=seed,
        tolerance=tolerance or Tolerance(),
        definition=Path(definition) if definition is not None else None,
    )
    return compare_runtimes(opened, plan)
