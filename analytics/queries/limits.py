"""The limits of who may only read: told to a server that does not know them, and named when one of them stops a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from core.errors import APIError, DBError
from core.settings import ClickHouseSettings

# ClickHouse's codes.
_TIME, _MEMORY, _RESULT, _READ = 159, 241, 396, 158
# ClickHouse says so where not the query but the server as a whole has no memory left.
_TOTAL: Final = "(total)"


def limits(settings: ClickHouseSettings) -> dict[str, Any]:
    """The embedded server has them for its reader; another server is told, should its reader be a user like any other."""
    if not settings.external:
        return {}
    return {
        # No change of data, but these very settings.
        "readonly": 2,
        # Of the times in parameters and answers.
        "session_timezone": "UTC",
        "max_execution_time": settings.reader_max_seconds,
        "max_memory_usage": settings.reader_max_memory_bytes,
        "max_result_rows": settings.reader_max_result_rows,
        "max_rows_to_read": settings.reader_max_rows_to_read,
        "result_overflow_mode": "throw",
    }


@contextmanager
def named(settings: ClickHouseSettings) -> Iterator[None]:
    """A limit that stopped the query, as an APIError that says which, how much it is and which setting it comes from."""
    try:
        yield
    except APIError as cause:
        code = cause.context.get("clickhouse")
        if code == _MEMORY and _TOTAL in cause.message:
            text = "ClickHouse has no memory left for this query beside the others: ask again"
            raise DBError("db.clickhouse_unavailable", text, clickhouse=code) from cause
        told = _told(code, settings)
        if told is None or (code == _RESULT and "rows" not in cause.message):
            raise
        text, setting = told
        raise APIError("api.validation", text, field=setting, clickhouse=code) from cause


def _told(code: object, given: ClickHouseSettings) -> tuple[str, str] | None:
    """What was too much, with what to do, and the setting."""
    if code == _TIME:
        most, instead, setting = f"took longer than {given.reader_max_seconds} s", "ask for less time", "seconds"
    elif code == _MEMORY:
        most = f"needs more than {given.reader_max_memory_bytes >> 20:,} MiB of memory"
        instead, setting = "group or sort less at once", "memory_bytes"
    elif code == _RESULT:
        most = f"has an answer of more than {given.reader_max_result_rows:,} rows"
        instead, setting = "add a LIMIT or group them", "result_rows"
    elif code == _READ:
        most = f"would read more than {given.reader_max_rows_to_read:,} rows"
        instead, setting = "ask for less time or one instance", "rows_to_read"
    else:
        return None
    name = f"clickhouse.reader_max_{setting}"
    return f"the query {most} ({name}): {instead}, or raise that setting where ClickHouse runs", name
