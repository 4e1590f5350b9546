"""The self-test: plant mutants in a bundle's ONNX graphs, and count those that the chosen stimuli detect."""

from collections.abc import Iterable
from pathlib import Path

import onnx

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Record
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.comparison import Plan, References
from deploy_snn.parity.lockstep import Lockstep, Progress
from deploy_snn.parity.mutants import Mutant, mutants
from deploy_snn.parity.report import Mode
from deploy_snn.reference import reference_program
from deploy_snn.runtimes.onnxruntime import SEQUENCE, STEP, OnnxRuntimeCpu

MODES: dict[str, tuple[Mode, ...]] = {STEP: ("locked", "free"), SEQUENCE: ("sequence",)}


class MutantResult(Record):
    """One mutant: what was changed, and the stimulus and the mode that detected it; None if it survived."""

    file: str
    kind: str
    what: str
    killed_by: str | None = None
    mode: str | None = None


class SelfTest(Record):
    """All mutants of a bundle."""

    model: str
    results: tuple[MutantResult, ...]

    @property
    def killed(self) -> int:
        return sum(result.killed_by is not None for result in self.results)

    @property
    def survivors(self) -> tuple[MutantResult, ...]:
        return tuple(result for result in self.results if result.killed_by is None)

    @property
    def percent(self) -> float:
        """The percentage of mutants that were detected."""
        return 100 * self.killed / len(self.results)


def self_test(bundle: Bundle, plan: Plan, progress: Progress = lambda _: None, every: int = 1) -> SelfTest:
    """Run mutants of ``step.onnx`` and ``sequence.onnx`` on ONNX Runtime against eager torch.

    ``every`` runs only every so many of them. Raises InvalidInput for a bundle without these files, or for the stimulus
    "golden".
    """
    if "golden" in plan.stimuli:
        raise InvalidInput("the self-test needs eager torch as reference: use another stimulus than 'golden'")
    program = reference_program(bundle, plan.definition)
    references = [(r.report.stimulus, r.lockstep) for r in References(plan, program).each(None)]
    for _, lockstep in references:
        lockstep.fail_fast = True
    results = []
    for name, modes in MODES.items():
        model = onnx.load(bundle.file(name))
        for mutant in list(mutants(model, bundle.contract, in_time=name == SEQUENCE))[::every]:
            killed_by = _detect(bundle, name, mutant, references, modes)
            progress(1)
            stimulus, mode = killed_by or (None, None)
            results.append(MutantResult(file=name, kind=mutant.kind, what=mutant.what, killed_by=stimulus, mode=mode))
    if not results:
        raise InvalidInput(f"{bundle.path}: no mutant could be planted")
    return SelfTest(model=bundle.name, results=tuple(results))


def _detect(
    bundle: Bundle, name: str, mutant: Mutant, references: Iterable[tuple[str, Lockstep]], modes: tuple[Mode, ...]
) -> tuple[str, str] | None:
    """The first stimulus and mode that detect a mutant."""
    for stimulus, lockstep in references:
        for mode in modes:
            try:
                runtime = Mutated(bundle, name, mutant.model.SerializeToString())
                if not lockstep.run("mutant", runtime, mode).equal:
                    return stimulus, mode
            except InvalidInput:  # ONNX Runtime refuses the file
                return stimulus, "load"
    return None


class Mutated(OnnxRuntimeCpu):
    """ONNX Runtime on a bundle whose file ``name`` has other contents."""

    def __init__(self, bundle: Bundle, name: str, model: bytes) -> None:
        self._mutant = (name, model)
        super().__init__(bundle)

    def _model(self, name: str) -> Path | bytes:
        return self._mutant[1] if name == self._mutant[0] else super()._model(name)
