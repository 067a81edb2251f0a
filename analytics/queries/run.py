"""Runs a query as people may: it reads, within limits of time, memory and rows, and whatever stops it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analytics.client import connected
from analytics.queries.limits import limits, named
from core.settings import ClickHouseSettings


@dataclass(frozen=True, slots=True)
class Answer:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run(settings: ClickHouseSettings, sql: str, values: Mapping[str, str], *, cache_seconds: int = 0) -> Answer:
    """`values` are ClickHouse's own parameters (`{name:Type}` in the statement). With `cache_seconds` the answer may be one
    that the server gave so long ago. APIError for a wrong statement."""
    params = parameters(values)
    with named(settings), connected(settings, reader=True) as client:
        if settings.external:
            # The driver has no other way to give parameters to a server of a newer protocol.
            for name, text in params.items():
                client.execute(f"SET {name} = {_quoted(text)}")
            params = {}
        given = params | limits(settings) | _cache(cache_seconds)
        rows, columns = client.execute(sql, with_column_types=True, settings=given)
    return Answer(tuple(name for name, _ in columns), _in_utc(rows, [kind for _, kind in columns]))


def _in_utc(rows: list[tuple[Any, ...]], types: list[str]) -> list[tuple[Any, ...]]:
    """The driver leaves the zone out where the type that came names none; it is the session's, UTC."""
    places = {n for n, kind in enumerate(types) if "DateTime" in kind}
    return (
        [tuple(_zoned(cell) if n in places else cell for n, cell in enumerate(row)) for row in rows] if places else rows
    )


def _zoned(cell: Any) -> Any:
    return cell.replace(tzinfo=UTC) if isinstance(cell, datetime) and cell.tzinfo is None else cell


def parameters(values: Mapping[str, str]) -> dict[str, str]:
    """As ClickHouse takes them, in the protocol's settings and in an address alike."""
    return {f"param_{name}": _escaped(value) for name, value in values.items()}


def _cache(seconds: int) -> dict[str, Any]:
    """ClickHouse's query cache, or the embedded server's own by the same settings."""
    return {"use_query_cache": 1, "query_cache_ttl": seconds} if seconds else {}


def _escaped(value: str) -> str:
    """A parameter's text is read as in a tab-separated file."""
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
