"""The calculations behind the figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.bench.stats import after_warm_up, quantile, slope_per_hour

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1), st.floats(0.001, 1))
def test_quantile_is_the_smallest_value_that_covers_the_share(values: list[float], share: float) -> None:
    at = quantile(values, share)
    share = round(share, 6)
    assert at in values
    assert sum(value <= at for value in values) >= share * len(values) - 1e-6 * len(values)
    assert sum(value < at for value in values) < share * len(values) + 1e-6 * len(values)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100), (0.0, 1)])
def test_quantile_by_nearest_rank(share: float, expected: int) -> None:
    assert quantile(list(range(100, 0, -1)), share) == expected


def test_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        quantile([], 0.5)


@given(FINITE, FINITE, st.integers(2, 50))
def test_slope_of_a_line_is_its_own(start: float, per_second: float, count: int) -> None:
    samples = [(float(at), start + per_second * at) for at in range(count)]
    assert math.isclose(slope_per_hour(samples), per_second * 3600, rel_tol=1e-6, abs_tol=1e-3)


def test_one_sample_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two"):
        slope_per_hour([(0.0, 1.0)])


def test_the_warm_up_is_a_share_of_the_time_not_of_the_samples() -> None:
    samples = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (10.0, 2.0), (20.0, 3.0)]
    assert after_warm_up(samples, 0.25) == [(10.0, 2.0), (20.0, 3.0)]
    assert after_warm_up(samples, 0.0) == samples
    assert after_warm_up([], 0.5) == []
