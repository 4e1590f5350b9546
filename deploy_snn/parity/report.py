"""The results of a comparison as frozen records, for the terminal, JSON, JUnit and HTML."""

from typing import Literal

from pydantic import Field

from deploy_snn.contract import Record

Mode = Literal["locked", "free", "sequence", "initial state", "golden trace"]
"""The three ways to run a runtime, and the two comparisons of a bundle's own files with the reference."""

Number = float | bool | str
"""An element of a tensor. NaN and the infinities are strings, because JSON has no numbers for them."""


Events = tuple[tuple[int, int], ...]
"""Spikes as (step, neuron), with the neurons of a shape counted in order."""


class Tolerance(Record):
    """How far floats may differ where the contract names a rounding; elsewhere the bits must be equal.

    ``|actual - expected| <= atol + rtol * largest``, where ``largest`` is the largest magnitude of the tensor in the
    reference, so the tolerance is in proportion to the tensor. Spikes must always be identical.
    """

    atol: float = 0.0
    rtol: float = 1e-5


class TensorReport(Record):
    """One tensor over a whole run. ``compared`` and ``differing`` count elements; ``max_...`` are None for spikes.

    ``tolerance`` is the largest accepted difference; None if the bits must be equal. ``signed_zeros`` counts elements that
    are -0.0 instead of 0.0 or the reverse, and ``flushed`` denormal numbers that became 0. Neither is a difference.
    """

    tensor: str
    dtype: str
    steps: int
    compared: int
    differing: int
    tolerance: float | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    signed_zeros: int = 0
    flushed: int = 0


class Divergence(Record):
    """The first element that differed, with what led to it.

    ``value``, ``threshold`` and ``ulp_from_threshold`` are the reference's comparison for a spike. ``inputs`` and
    ``state_before`` are the element's own inputs and state, as far as they have the element's shape. ``node`` is the first
    node of an ONNX graph whose result differs from the reference evaluation of the equations.
    """

    step: int
    tensor: str
    batch_row: int | None
    neuron: tuple[int, ...]
    expected: Number
    actual: Number
    difference: Number | None = None
    ulp: int | None = None
    tolerance: float | None = None
    value: Number | None = None
    threshold: Number | None = None
    ulp_from_threshold: int | None = None
    inputs: dict[str, Number] = Field(default_factory=dict)
    state_before: dict[str, Number] = Field(default_factory=dict)
    node: str | None = None
    verdict: str


class RunReport(Record):
    """The comparison of one runtime in one mode with the reference. ``error`` is set if the run could not be completed."""

    runtime: str
    mode: Mode
    stimulus: str = ""
    batch: int = 0
    seed: int = 0
    steps: int
    equal: bool
    tensors: tuple[TensorReport, ...] = ()
    divergence: Divergence | None = None
    error: str | None = None
    microseconds_a_step: float = 0.0
    raster: dict[str, tuple[Events, Events]] = Field(default_factory=dict)
    """For each spike output that differs: the reference's spikes and the runtime's, in the row that differed first."""
    error_over_time: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """The largest difference of each float tensor at each step, for the tensors that differ."""

    @property
    def notes(self) -> list[str]:
        """What is not a difference, but worth knowing."""
        found = []
        for tensor in self.tensors:
            if tensor.signed_zeros:
                found.append(f"{tensor.tensor}: {tensor.signed_zeros} zeros have the other sign")
            if tensor.flushed:
                found.append(f"{tensor.tensor}: {tensor.flushed} denormal numbers were flushed to 0")
        return found


class Skipped(Record):
    """What was not compared, and why. ``requested`` is True if the user named it."""

    what: str
    reason: str
    requested: bool = False


class CoverageItem(Record):
    """Something that the reference did ``hits`` times. With ``of``, that many hits are possible."""

    name: str
    hits: int
    of: int | None = None

    @property
    def covered(self) -> bool:
        """Whether it happened; if there is a number to reach, whether it was reached."""
        return self.hits >= (self.of if self.of is not None else 1)

    def __str__(self) -> str:
        return f"{self.name}: {self.hits}" + (f" of {self.of}" if self.of is not None else "")


class StimulusReport(Record):
    """One run of the reference: the stimulus, its size, and what the reference did."""

    stimulus: str
    batch: int
    seed: int
    steps: int
    spikes: int
    firing_rate: float
    remarks: dict[str, int]
    raster: dict[str, Events] = Field(default_factory=dict)
    """The spikes of each output in the first batch row."""


class ModelReport(Record):
    """The comparison of one model: all requested stimuli, runtimes and modes."""

    model: str
    reference: str
    tolerance: Tolerance = Tolerance()
    stimuli: tuple[StimulusReport, ...] = ()
    runs: tuple[RunReport, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    coverage: tuple[CoverageItem, ...] = ()
    silent: tuple[str, ...] = ()
    """The spike outputs that never fired. Equality of their spikes proves nothing."""
    files: dict[str, str] = Field(default_factory=dict)
    """The SHA-256 of the bundle's files."""
    error: str | None = None
    """Why the model could not be compared at all."""
    error_status: int = 1

    @property
    def steps(self) -> int:
        """The steps of all stimuli."""
        return sum(stimulus.steps for stimulus in self.stimuli)

    @property
    def spikes(self) -> int:
        """The spikes of the reference in all stimuli."""
        return sum(stimulus.spikes for stimulus in self.stimuli)

    @property
    def compared(self) -> int:
        """The number of completed comparisons of a runtime with the reference. The bundle's own files do not count."""
        return sum(run.mode in ("locked", "free", "sequence") and run.error is None for run in self.runs)

    @property
    def equal(self) -> bool:
        """Whether every run was equal, and at least one runtime was compared."""
        return self.error is None and self.compared > 0 and all(run.equal for run in self.runs)

    @property
    def uncovered(self) -> tuple[CoverageItem, ...]:
        """What the stimuli did not exercise."""
        return tuple(item for item in self.coverage if not item.covered)

    @property
    def exit_status(self) -> int:
        """0 if equal; 1 for a mismatch; 2 or 3 if the comparison was not possible."""
        if self.error is not None:
            return self.error_status
        if not all(run.equal for run in self.runs):
            return 1
        if not self.compared:
            return 3 if any(skip.requested for skip in self.skipped) else 1
        return 3 if any(skip.requested for skip in self.skipped) else 0

    def __repr__(self) -> str:
        wrong = list(dict.fromkeys(f"{run.runtime} ({run.mode})" for run in self.runs if not run.equal))
        verdict = f"different: {', '.join(wrong)}" if wrong else f"all {len(self.runs)} runs equal"
        if self.error is not None:
            verdict = self.error
        elif not self.compared:
            verdict = "no runtime was compared"
        names = ", ".join(dict.fromkeys(stimulus.stimulus for stimulus in self.stimuli))
        return f"ModelReport({self.model!r}, {self.steps} steps of {names}: {verdict})"

    __str__ = __repr__


class ParityReport(Record):
    """All comparisons of one command."""

    equal: bool
    versions: dict[str, str]
    models: tuple[ModelReport, ...]
