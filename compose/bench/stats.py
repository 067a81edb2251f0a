"""The calculations behind the figures. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

SECONDS_PER_HOUR = 3600.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    if not values:
        raise ValueError("a quantile of nothing")
    ordered = sorted(values)
    # Integer arithmetic on millionths: 0.99 * 100 must not become 99.00000000000001.
    rank = -(-round(share * 1_000_000) * len(ordered) // 1_000_000)
    return ordered[max(rank, 1) - 1]


def slope_per_hour(samples: Sequence[tuple[float, float]]) -> float:
    """What a quantity gains in an hour by the least-squares line through (seconds, value) samples."""
    if len(samples) < 2:
        raise ValueError("a slope needs two samples")
    line = statistics.linear_regression([at for at, _ in samples], [value for _, value in samples])
    return line.slope * SECONDS_PER_HOUR


def after_warm_up(samples: Sequence[tuple[float, float]], share: float) -> list[tuple[float, float]]:
    """The samples behind the first `share` of the time they cover."""
    if not samples:
        return []
    first, last = samples[0][0], samples[-1][0]
    begin = first + (last - first) * share
    return [sample for sample in samples if sample[0] >= begin]
