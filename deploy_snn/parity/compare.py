"""Compare the recorded tensors of a runtime with those of the reference."""

import numpy as np
from numpy.typing import NDArray

from deploy_snn.contract import TensorSpec
from deploy_snn.parity.report import TensorReport, Tolerance
from deploy_snn.parity.ulp import ulps
from deploy_snn.tensors import Array


def differs(expected: Array, actual: Array, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Where two arrays differ: bools exactly, floats by more than the tolerance. NaN equals NaN, and inf equals inf."""
    if expected.dtype == np.bool_:
        differ: NDArray[np.bool_] = expected != actual
        return differ
    with np.errstate(invalid="ignore"):
        close = np.abs(actual - expected) <= tolerance.atol + tolerance.rtol * np.abs(expected)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    agree: NDArray[np.bool_] = np.where(np.isfinite(expected) & np.isfinite(actual), close, same)
    return ~agree


def compare_tensor(spec: TensorSpec, name: str, expected: Array, actual: Array, tolerance: Tolerance) -> TensorReport:
    """Compare one tensor ``[T, ...]`` over all steps that the runtime has run."""
    expected = expected[: len(actual)]
    report = TensorReport(
        tensor=name,
        dtype=spec.dtype,
        steps=len(actual),
        compared=actual.size,
        differing=int(differs(expected, actual, tolerance).sum()),
    )
    if spec.dtype == "bool":
        return report
    finite = np.isfinite(expected) & np.isfinite(actual)
    a, e = actual[finite], expected[finite]
    gap = np.abs(a.astype(np.float64) - e)
    relative = gap[e != 0] / np.abs(e[e != 0])
    return report.model_copy(
        update={
            "max_abs": float(gap.max(initial=0)),
            "max_rel": float(relative.max(initial=0)),
            "max_ulp": int(np.abs(ulps(a, e)).max(initial=0)),
        }
    )
