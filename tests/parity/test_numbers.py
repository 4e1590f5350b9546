"""Distances in ulp, and which numbers count as different."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_snn.contract import Kind, Role, TensorSpec
from deploy_snn.parity import Tolerance
from deploy_snn.parity.compare import accepted_difference, compare_tensor, differs
from deploy_snn.parity.ulp import from_ordinal, ordinal, ulps

floats = st.floats(width=32, allow_nan=False)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@given(floats)
def test_neighbours_are_one_ulp_apart(value: float) -> None:
    here = f32(value)
    with np.errstate(over="ignore"):  # the largest number is followed by infinity
        above = np.nextafter(here, np.float32(np.inf))
    if value != np.inf:
        assert ulps(above, here) == 1
        assert ulps(here, above) == -1
    assert from_ordinal(ordinal(here)) == here


@given(floats, floats)
def test_ordinals_are_in_order(a: float, b: float) -> None:
    assert (a < b) == (ordinal(f32(a)) < ordinal(f32(b))).item()
    assert (a == b) == (ulps(f32(a), f32(b)) == 0).item()


def test_differs_within_a_tolerance() -> None:
    expected = f32(0, 0, 100, 100, np.nan, np.inf, np.inf, 1, -np.inf)
    actual = f32(0.9e-3, 1.1e-3, 100.0009, 100.0012, np.nan, np.inf, -np.inf, np.nan, 3)
    wanted = [False, True, False, True, False, False, True, True, True]
    assert differs(expected, actual, 1e-3).tolist() == wanted
    assert differs(np.array([True, False]), np.array([True, True]), 1e-3).tolist() == [False, True]


def test_equal_bits_are_required_without_a_tolerance() -> None:
    """Without a tolerance, other bits are a difference. Signed zeros and flushed denormals are only counted."""
    tiny = np.float32(1e-40)
    expected = f32(1, 0.0, -0.0, tiny, tiny, 0.0, np.nan, np.nan)
    actual = f32(np.nextafter(np.float32(1), np.float32(2)), -0.0, 0.0, 0.0, 2e-40, tiny, np.nan, 0)
    assert differs(expected, actual, None).tolist() == [True, False, False, False, True, False, False, True]
    spec = TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL)
    report = compare_tensor(spec, "next.v", expected, actual)
    assert (report.signed_zeros, report.flushed, report.differing) == (2, 2, 3)


def test_tolerance_scales_with_the_tensor() -> None:
    volts = f32(-0.065, 0.015)
    assert accepted_difference(volts, Tolerance()) == pytest.approx(6.5e-7)
    assert differs(volts, volts + np.float32(2e-6), accepted_difference(volts, Tolerance())).all()


def test_tensor_report() -> None:
    spec = TensorSpec(name="v", role=Role.STATE, kind=Kind.POTENTIAL)
    expected, actual = (
        f32(1, 2, -4, 0).reshape(2, 2),
        f32(1, np.nextafter(np.float32(2), np.float32(3)), -4.5, 0).reshape(2, 2),
    )
    report = compare_tensor(spec, "next.v", expected, actual, 1e-5)
    assert (report.steps, report.compared, report.differing, report.max_abs, report.max_rel) == (2, 4, 1, 0.5, 0.125)
    assert report.max_ulp == 2**20
