"""What a rebuild does to each rollup. Pure.

After a period was asked for, every rollup's rows of it are replaced by what the raw table says; those of a day or month that
began before the raw table does are added to, if they merge. After a replay only those are replaced in which a copy counts
again, hour by hour; to the others rows are added: they merge, and nothing that the raw table has lost is taken from them.

The raw table is the truth only as far as its retention goes back: an hour before that is not replaced unless it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analytics.rebuild.period import HOUR_MS, Period, moment
from analytics.rebuild.rollups import Rollup
from core.errors import APIError

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Work:
    """One rollup and its period; `replaces` its rows there, or adds to them."""

    rollup: Rollup
    period: Period
    replaces: bool


def kept_since(retention_days: int, now_ms: int) -> int:
    """The first hour of which the raw table has everything."""
    return -(-(now_ms - retention_days * _DAY_MS) // HOUR_MS) if retention_days else 0


def of_period(rollups: Sequence[Rollup], period: Period, since: int) -> list[Work]:
    """Everything made again, widened to whole days and months, or added to where that reaches behind `since`. APIError where
    the period itself does, or a sum that would have to be made of what is gone."""
    return [_of_period(one, period, since) for one in rollups]


def _of_period(rollup: Rollup, period: Period, since: int) -> Work:
    whole = rollup.whole(period)
    if whole.since(since) == whole:
        return Work(rollup, whole, True)
    if rollup.sums or period.since(since) != period:
        text = (
            f"{rollup.name} would be rebuilt {whole}, but events are kept since "
            f"{moment(since):%Y-%m-%d %H:%M} only: what the raw table has dropped would be lost from "
            "the rollup. Take a later --from, or --beyond-retention if nothing was dropped yet"
        )
        raise APIError("api.conflict", text, field="--from")
    return Work(rollup, period, False)


def of_replay(rollups: Sequence[Rollup], hours: Mapping[str, Iterable[int]], since: int) -> list[Work]:
    """`hours` in which events were read again, by the column of events that tells them: ts, received_at."""
    return [
        Work(rollup, period.since(since) if rollup.sums else period, rollup.sums)
        for rollup in rollups
        if (period := Period.of_hours(hours[rollup.of]))
    ]
