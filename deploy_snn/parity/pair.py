"""Compare any two: bundles, runtimes of bundles, torch modules, and single files with one step."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.manifest import MANIFEST, Manifest
from deploy_snn.bundle.trace import at
from deploy_snn.contract import Contract, differences
from deploy_snn.errors import InvalidInput
from deploy_snn.importers.load import load_model
from deploy_snn.parity.comparison import Plan, Reference, References, compare_all
from deploy_snn.parity.exactness import links_of
from deploy_snn.parity.lockstep import Lockstep, Progress
from deploy_snn.parity.recording import Recording, freeze
from deploy_snn.parity.report import ModelReport, Skipped
from deploy_snn.parity.stimulus import Stimulus
from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import Runtime, find_runtime
from deploy_snn.runtimes.find import EAGER
from deploy_snn.runtimes.step_file import StepFile
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime

if TYPE_CHECKING:
    from deploy_snn.tensors import Arrays

CANDIDATE = "candidate"


@dataclass(frozen=True)
class Side:
    """One side of a comparison. ``program`` is None if the equations are not known as a torch module."""

    name: str
    runtime: Runtime
    program: Program | None

    @property
    def contract(self) -> Contract:
        return self.runtime.contract


class TorchModule(TorchRuntime):
    """A torch program that is no bundle."""

    files = ()

    def __init__(self, program: Program) -> None:
        self.contract = program.contract
        self._program = program
        self._state = {}

    @property
    def step_function(self) -> Function:
        return self._program

    @property
    def run_function(self) -> Function:
        return self._program.rollout


def read_contract(path: Path) -> Contract:
    """Read a contract from a JSON file, from a manifest, or from the manifest of a bundle's folder."""
    if path.is_dir():
        path /= MANIFEST
    if path.name == MANIFEST:
        return Manifest.read(path).contract
    try:
        return Contract.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


def open_side(
    text: str, contract: Contract | None = None, options: dict[str, Any] | None = None, definition: Path | None = None
) -> Side:
    """Open one side of a comparison.

    Args:
        text: a bundle's folder, also with the name of a runtime (``export/lif:pt2``; eager torch by default), an ``.onnx``
            or TorchScript file of one step, the name of a neuron, a ``.py`` file, or a file of another framework.
        contract: the contract of a file of one step that holds none.
        options: the keywords of a neuron class, of ``build()`` or of an importer.
        definition: the Python file with a bundle's own classes.

    Raises InvalidInput for anything else, and Unavailable for a runtime that cannot run here.
    """
    folder, _, runtime = text.rpartition(":") if ":" in text else (text, "", EAGER)
    if Path(folder).is_dir():
        bundle = Bundle.open(folder)
        program = reference_program(bundle, definition)
        opened = TorchModule(program) if runtime == EAGER else find_runtime(runtime, bundle)(bundle)
        return Side(text, opened, program)
    if Path(text).suffix == ".onnx" or (Path(text).suffix == ".pt" and (contract or _is_script(Path(text)))):
        return Side(text, StepFile(Path(text), contract), None)
    program = load_model(text, dict(options or {})).program
    program.requires_grad_(requires_grad=False)
    return Side(text, TorchModule(program), program)


def _is_script(path: Path) -> bool:
    """Whether a .pt file is TorchScript with a contract. Files of other frameworks are not."""
    try:
        StepFile(path)
    except InvalidInput:
        return False
    return True


def compare_pair(reference: Side, candidate: Side, plan: Plan, progress: Progress = lambda _: None) -> ModelReport:
    """Compare the candidate with the reference on the stimuli of a plan.

    Raises InvalidInput if their contracts differ in their tensors, or if neither is a torch module, so that only a recorded
    stimulus is possible, and another one was requested.
    """
    found = differences(
        reference.contract.model_copy(update={"rounding": ()}), candidate.contract.model_copy(update={"rounding": ()})
    )
    if found:
        raise InvalidInput(f"{candidate.name} and {reference.name} have different contracts: {'; '.join(found)}")
    program = reference.program or candidate.program
    if program is None:
        raise InvalidInput(
            f"neither {reference.name} nor {candidate.name} has equations in torch, which stimuli are built with: "
            "use a bundle or a torch module on one side"
        )
    references = References(plan, program)
    opened, runs, stimuli = {CANDIDATE: candidate.runtime}, [], []
    skipped: list[Skipped] = []
    for built in references.each(None):
        # The stimulus is built with the torch program; the reference's own results replace those of the program.
        recorded = built
        if not isinstance(reference.runtime, TorchModule):
            trace = built.lockstep.trace
            restarts = trace.restarts if isinstance(trace, Recording) else {}
            stimulus = Stimulus(built.report.stimulus, trace.inputs, trace.start, restarts=restarts)
            lockstep = Lockstep(
                _record(reference.runtime, stimulus),
                None,
                plan.tolerance,
                fail_fast=plan.fail_fast,
                seed=built.report.seed,
                links=links_of(program),
            )
            spikes = sum(int(s.sum()) for s in lockstep.trace.spikes)
            recorded = Reference(built.report.model_copy(update={"spikes": spikes}), lockstep)
        stimuli.append(recorded.report)
        runs += compare_all(opened, recorded, replace(plan, runtimes=[CANDIDATE]), skipped, progress)
    return ModelReport(
        model=candidate.name,
        reference=reference.name,
        tolerance=plan.tolerance,
        stimuli=tuple(stimuli),
        runs=tuple(runs),
        skipped=(*skipped, *references.skipped),
        coverage=references.coverage.items(),
        silent=references.coverage.silent,
    )


def _record(runtime: Runtime, stimulus: Stimulus) -> Recording:
    """Run a runtime over a stimulus and record it as a reference."""
    outputs: list[Arrays] = []
    states: list[Arrays] = []
    for step in range(stimulus.steps):
        if step == 0 or step in stimulus.restarts:
            start = stimulus.restarts.get(step, stimulus.start)
            runtime.start({name: np.array(array) for name, array in start.items()})
        outputs.append(runtime.step({name: np.array(array) for name, array in at(stimulus.inputs, step).items()}))
        states.append(runtime.state())
    trace = Recording(
        stimulus.start,
        stimulus.inputs,
        {spec.name: np.stack([now[spec.name] for now in outputs]) for spec in runtime.contract.outputs},
        {spec.name: np.stack([now[spec.name] for now in states]) for spec in runtime.contract.states},
        stimulus.restarts,
    )
    freeze(trace)
    return trace
