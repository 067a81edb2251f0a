"""Runs a query as people may: it reads, within limits of time, memory and rows, and whatever stops it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analytics.client import connected
from core.settings import ClickHouseSettings

# Readonly 2 allows these very settings, which are given with the statement, and no change of data.
LIMITS: dict[str, Any] = {
    "readonly": 2,
    "max_execution_time": 30,
    "max_memory_usage": 2 << 30,
    "max_result_rows": 1_000_000,
    "result_overflow_mode": "throw",
}


@dataclass(frozen=True, slots=True)
class Answer:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run(settings: ClickHouseSettings, sql: str, values: Mapping[str, str]) -> Answer:
    """`values` are ClickHouse's own parameters (`{name:Type}` in the statement). APIError for a wrong statement."""
    with connected(settings) as client:
        for name, value in values.items():
            client.execute(f"SET param_{name} = {_quoted(_escaped(value))}")
        rows, columns = client.execute(sql, with_column_types=True, settings=LIMITS)
    return Answer(tuple(name for name, _ in columns), rows)


def _escaped(value: str) -> str:
    """A parameter's text is read as in a tab-separated file."""
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
