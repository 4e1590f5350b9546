"""The results of a comparison as frozen records, for the printed table and for JSON."""

from typing import Literal

from deploy_snn.contract import Record

Mode = Literal["locked", "free", "sequence"]


class Tolerance(Record):
    """Floats are equal if ``|actual - expected| <= atol + rtol * |expected|``. Spikes must be identical."""

    atol: float = 1e-5
    rtol: float = 1e-5


class TensorReport(Record):
    """One tensor over a whole run. ``compared`` and ``differing`` count elements; ``max_...`` are None for spikes."""

    tensor: str
    dtype: str
    steps: int
    compared: int
    differing: int
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None


class Divergence(Record):
    """The first element that differed, and the reference's distance from the threshold for this element."""

    step: int
    tensor: str
    batch_row: int | None
    neuron: tuple[int, ...]
    expected: float | bool
    actual: float | bool
    value: float | None = None
    threshold: float | None = None
    ulp_from_threshold: int | None = None
    verdict: str


class RunReport(Record):
    """The comparison of one runtime in one mode with the reference."""

    runtime: str
    mode: Mode
    steps: int
    equal: bool
    tensors: tuple[TensorReport, ...]
    divergence: Divergence | None = None
    microseconds_a_step: float


class ModelReport(Record):
    """The comparison of one bundle: all requested runtimes and modes."""

    model: str
    stimulus: str
    steps: int
    batch: int
    seed: int
    reference: str
    spikes: int
    firing_rate: float
    remarks: dict[str, int]
    tolerance: Tolerance
    runs: tuple[RunReport, ...]

    @property
    def equal(self) -> bool:
        """Whether every run was equal. Zero runs are not."""
        return bool(self.runs) and all(run.equal for run in self.runs)

    def __repr__(self) -> str:
        wrong = [f"{run.runtime} ({run.mode})" for run in self.runs if not run.equal]
        verdict = f"different: {', '.join(wrong)}" if wrong else f"all {len(self.runs)} runs equal"
        return f"ModelReport({self.model!r}, {self.steps} steps of {self.stimulus}: {verdict})"

    __str__ = __repr__


class ParityReport(Record):
    """All comparisons of one command."""

    equal: bool
    versions: dict[str, str]
    models: tuple[ModelReport, ...]
