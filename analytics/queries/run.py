"""Runs a query as people may: it reads, within limits of time, memory and rows, and whatever stops it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analytics.client import connected
from core.settings import ClickHouseSettings


@dataclass(frozen=True, slots=True)
class Answer:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run(settings: ClickHouseSettings, sql: str, values: Mapping[str, str]) -> Answer:
    """`values` are ClickHouse's own parameters (`{name:Type}` in the statement). APIError for a wrong statement."""
    params = {f"param_{name}": _escaped(value) for name, value in values.items()}
    with connected(settings, reader=True) as client:
        if settings.external:
            # The driver has no other way to give parameters to a server of a newer protocol.
            for name, text in params.items():
                client.execute(f"SET {name} = {_quoted(text)}")
            params = {}
        rows, columns = client.execute(sql, with_column_types=True, settings=params | _limits(settings))
    return Answer(tuple(name for name, _ in columns), rows)


def _limits(settings: ClickHouseSettings) -> dict[str, Any]:
    """The embedded server has them for its reader; another server is told, should its reader be a user like any other."""
    if not settings.external:
        return {}
    return {
        # No change of data, but these very settings.
        "readonly": 2,
        "max_execution_time": settings.reader_max_seconds,
        "max_memory_usage": settings.reader_max_memory_bytes,
        "max_result_rows": settings.reader_max_result_rows,
        "max_rows_to_read": settings.reader_max_rows_to_read,
        "result_overflow_mode": "throw",
    }


def _escaped(value: str) -> str:
    """A parameter's text is read as in a tab-separated file."""
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
