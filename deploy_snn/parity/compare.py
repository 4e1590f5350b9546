"""Compare the recorded tensors of a runtime with those of the reference."""

import numpy as np
from numpy.typing import NDArray

from deploy_snn.contract import TensorSpec
from deploy_snn.parity.report import Events, Number, TensorReport, Tolerance
from deploy_snn.parity.ulp import ulps
from deploy_snn.tensors import Array

SMALLEST_NORMAL = np.finfo(np.float32).tiny


def accepted_difference(reference: Array, tolerance: Tolerance) -> float:
    """The largest accepted difference for a rounded tensor, in proportion to its largest finite magnitude."""
    finite = np.abs(reference[np.isfinite(reference)])
    return tolerance.atol + tolerance.rtol * float(finite.max(initial=0))


def differs(expected: Array, actual: Array, accepted: float | None) -> NDArray[np.bool_]:
    """Where two arrays of the same shape differ.

    With ``accepted=None`` the values must be the same; NaN equals NaN. Zeros of either sign are the same value, and so are
    a denormal number and 0, because hosts flush them: the report counts both. Otherwise finite floats may differ by
    ``accepted``.
    """
    if expected.dtype == np.bool_:
        differ: NDArray[np.bool_] = expected != actual
        return differ
    same: NDArray[np.bool_] = (expected == actual) | (np.isnan(expected) & np.isnan(actual)) | flushed(expected, actual)
    if accepted is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs(actual.astype(np.float64) - expected)
        same |= np.isfinite(expected) & np.isfinite(actual) & (gap <= accepted)
    return ~same


def signed_zeros(expected: Array, actual: Array) -> NDArray[np.bool_]:
    """Where both are zero, with different signs."""
    found: NDArray[np.bool_] = (expected == 0) & (actual == 0) & (np.signbit(expected) != np.signbit(actual))
    return found


def flushed(expected: Array, actual: Array) -> NDArray[np.bool_]:
    """Where a denormal number of one side is 0 on the other."""
    found: NDArray[np.bool_] = (
        (expected != actual)
        & ((expected == 0) | (actual == 0))
        & (np.abs(expected) < SMALLEST_NORMAL)
        & (np.abs(actual) < SMALLEST_NORMAL)
    )
    return found


def compare_tensor(
    spec: TensorSpec, name: str, expected: Array, actual: Array, accepted: float | None = None
) -> TensorReport:
    """Compare one tensor ``[T, ...]`` over all steps that the runtime has run. The shapes must be equal.

    ``accepted`` is the largest accepted difference; None demands the same values.
    """
    report = TensorReport(
        tensor=name,
        dtype=spec.dtype,
        steps=len(actual),
        compared=actual.size,
        differing=int(differs(expected, actual, accepted).sum()),
        tolerance=accepted,
    )
    if spec.dtype == "bool":
        return report
    finite = np.isfinite(expected) & np.isfinite(actual)
    a, e = actual[finite], expected[finite]
    gap = np.abs(a.astype(np.float64) - e)
    relative = gap[e != 0] / np.abs(e[e != 0].astype(np.float64))
    return report.model_copy(
        update={
            "max_abs": float(gap.max(initial=0)),
            "max_rel": float(relative.max(initial=0)),
            "max_ulp": int(np.abs(ulps(a, e)).max(initial=0)),
            "signed_zeros": int(signed_zeros(expected, actual).sum()),
            "flushed": int(flushed(expected, actual).sum()),
        }
    )


def number(value: object) -> Number:
    """An element of an array as a number for a report; NaN and infinities as text."""
    item = np.asarray(value).item()
    return item if isinstance(item, bool) or np.isfinite(item) else str(item)


RASTER_NEURONS = 200
"""The most neurons in the raster of a report."""


def events(spikes: Array, row: int) -> Events:
    """The spikes ``[T, B, *shape]`` of one batch row as (step, neuron), of the first neurons."""
    flat = spikes[:, row].reshape(len(spikes), -1)[:, :RASTER_NEURONS]
    return tuple((int(step), int(neuron)) for step, neuron in np.argwhere(flat))
