"""Which hours are rebuilt, and how they are said in SQL. Pure.

A row of a rollup stands for an hour, a day or a month by the column that tells its time; a period is widened to whole ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from analytics.sink.rows import LATEST_MS

HOUR_MS = 3_600_000
# The first hour that no row has.
END = LATEST_MS // HOUR_MS + 1
Unit = Literal["hour", "day", "month"]
# By the name of a rollup's time column; others are exact times.
_UNITS: dict[str, Unit] = {"day": "day", "month": "month"}


def unit_of(column: str) -> Unit:
    return _UNITS.get(column, "hour")


@dataclass(frozen=True, slots=True)
class Period:
    """Hours since 1970 as half-open ranges, in order, none touching the next."""

    ranges: tuple[tuple[int, int], ...]

    @staticmethod
    def between(start_ms: int, end_ms: int | None = None) -> Period:
        """From one time until another (not included), widened to whole hours; ValueError where that is none."""
        end = END if end_ms is None else min(-(-end_ms // HOUR_MS), END)
        return Period(_joined([(max(start_ms // HOUR_MS, 0), end)]))

    @staticmethod
    def of_hours(hours: Iterable[int]) -> Period:
        return Period(_joined((hour, hour + 1) for hour in sorted(hours)))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    @property
    def hours(self) -> int:
        return sum(end - start for start, end in self.ranges)

    def widened(self, unit: Unit) -> Period:
        if unit == "hour":
            return self
        return Period(_joined((_floor(start, unit), _ceil(end, unit)) for start, end in self.ranges))

    def since(self, hour: int) -> Period:
        """What of it begins at that hour or later."""
        return Period(_joined((max(start, hour), end) for start, end in self.ranges))

    def condition(self, column: str) -> str:
        """SQL for the rows whose time column lies within; `column` is named as the rollup's, or `ts`."""
        if not self.ranges:
            return "0"
        literal = _date if unit_of(column) != "hour" else _time
        first, last = self.ranges[0][0], self.ranges[-1][1]
        bounds = f"{column} >= '{literal(first)}'"
        if last < END:
            bounds += f" AND {column} < '{literal(last)}'"
        if len(self.ranges) == 1:
            return f"({bounds})"
        hours = ",".join(str(hour) for start, end in self.ranges for hour in range(start, end))
        return f"({bounds} AND intDiv(toUnixTimestamp(toDateTime({column}, 'UTC')), 3600) IN ({hours}))"

    def __str__(self) -> str:
        if not self.ranges:
            return "nothing"
        first, last = self.ranges[0][0], self.ranges[-1][1]
        text = f"from {_time(first)[:16]} until {'the end' if last >= END else _time(last)[:16]} (UTC)"
        return text if len(self.ranges) == 1 else f"{self.hours} hours {text}"


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """In order of their starts; those that overlap or touch become one, empty ones go."""
    out: list[tuple[int, int]] = []
    for start, end in ranges:
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)


def _floor(hour: int, unit: Unit) -> int:
    day = moment(hour).replace(hour=0)
    return _hour(day.replace(day=1) if unit == "month" else day)


def _ceil(hour: int, unit: Unit) -> int:
    start = _floor(hour, unit)
    if start == hour:
        return hour
    # 32 days after the first of a month is in the next one.
    after = moment(start) + timedelta(days=32 if unit == "month" else 1)
    return min(_floor(_hour(after), unit), END)


def moment(hour: int) -> datetime:
    """The hour's beginning."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def _hour(time: datetime) -> int:
    return int(time.timestamp()) // 3600


def _time(hour: int) -> str:
    return f"{moment(hour):%Y-%m-%d %H:%M:%S}"


def _date(hour: int) -> str:
    return f"{moment(hour):%Y-%m-%d}"
