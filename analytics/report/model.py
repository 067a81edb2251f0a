"""What a report is made of: figures on top, then sections, each with charts, their numbers and where those come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Any

Row = Mapping[str, Any]
Spec = dict[str, Any]


class Width(IntEnum):
    """Of a chart, in pixels: alone on a desktop's line, one of two, and on a phone."""

    FULL = 1000
    HALF = 480
    PHONE = 340


# A name and its colour.
Named = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Chart:
    """Drawn for each width it is shown at; the page writes the legend."""

    draw: Callable[[Width], Spec]
    legend: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class Period:
    begin: datetime
    end: datetime

    def days(self) -> list[date]:
        """Every day that is at least partly in it, in UTC."""
        first, last = self.begin.date(), (self.end - timedelta(microseconds=1)).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


@dataclass(frozen=True, slots=True)
class Question:
    """All that the answers depend on; an empty instance means all."""

    instance: str
    period: Period


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure; `note` says of what."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Its first columns are texts, the others numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1


@dataclass(frozen=True, slots=True)
class Section:
    """Without charts it says `empty`. Its numbers come from `queries`."""

    key: str
    title: str
    text: str
    empty: str
    queries: tuple[str, ...]
    charts: tuple[Chart, ...]
    table: Table
    is_wide: bool = False


def midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
