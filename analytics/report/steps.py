"""The steps of a report's time axis: days, or weeks or months where days would be too many to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from analytics.report import words
from analytics.report.frame import Span
from analytics.report.model import Period, midnight_ms

MAX_DAYS = 92
MAX_WEEKS = 104


@dataclass(frozen=True, slots=True)
class Steps:
    """`starts` are the first days of the steps, each as long as `name` says."""

    name: str
    starts: Sequence[date]
    spans: Sequence[Span]

    def sums(self, values: Iterable[tuple[date, float]]) -> list[float]:
        """The sum of the values of each step's days."""
        places = {start: n for n, start in enumerate(self.starts)}
        out = [0.0] * len(self.starts)
        for day, value in values:
            # ClickHouse counts by hours and days that are only partly in the period.
            if (place := places.get(_start(self.name, day))) is not None:
                out[place] += value
        return out


def steps(period: Period, *, always_days: bool = False) -> Steps:
    days = period.days()
    name = "day" if always_days or len(days) <= MAX_DAYS else "week" if len(days) <= 7 * MAX_WEEKS else "month"
    starts = sorted({_start(name, day) for day in days})
    return Steps(name, starts, [_span(name, start) for start in starts])


def _start(name: str, day: date) -> date:
    match name:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
    return day


def _span(name: str, start: date) -> Span:
    match name:
        case "week":
            end, says = start + timedelta(days=7), f"week of {words.day(start)}"
        case "month":
            end, says = (start + timedelta(days=31)).replace(day=1), f"{start:%B %Y}"
        case _:
            end, says = start + timedelta(days=1), words.day(start)
    return Span(midnight_ms(start), midnight_ms(end), says)
