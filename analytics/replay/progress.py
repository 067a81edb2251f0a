"""How far a replay is, in words. Pure: times passed in."""

from __future__ import annotations


def line(done: int, total: int, records: int, seconds: float) -> str:
    """Offsets of all, how fast, and how long it still takes at that rate."""
    share = f"{done:,} of {total:,} offsets ({100 * done // max(total, 1)} %)"
    if seconds <= 0 or done <= 0:
        return share
    return f"{share}, {records / seconds:,.0f} records/s, {span((total - done) * seconds / done)} left"


def span(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
