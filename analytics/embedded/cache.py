"""Results of a reader's queries, kept for seconds: ClickHouse's query cache, whose size in chDB is 0 whatever is configured.

A query asks for it by ClickHouse's own settings, `use_query_cache` and `query_cache_ttl` (seconds), so that the same client
uses the cache of another server. A result's life counts from the beginning of its query: what is given is never older. Only
whole results are kept; the oldest leave when there are too many.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from analytics.embedded.errors import BAD_ARGUMENTS, ServerError
from core.telemetry.metrics import (
    CLICKHOUSE_CACHE_BYTES,
    CLICKHOUSE_CACHE_HIT_RATIO,
    CLICKHOUSE_CACHE_HITS,
    CLICKHOUSE_CACHE_MISSES,
    Metrics,
)

USE, LIFE = "use_query_cache", "query_cache_ttl"
SETTINGS: Final = frozenset({USE, LIFE})
# ClickHouse's own default.
DEFAULT_SECONDS = 60.0
MAX_BYTES = 64 << 20
MAX_ENTRY_BYTES = 4 << 20
MAX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Caching:
    """A query that may be answered from here: whatever may change its answer, besides its text, and for how long."""

    seconds: float
    account: str
    database: str
    settings: tuple[tuple[str, str], ...]


def caching_of(account: str, database: str, settings: Mapping[str, str]) -> Caching | None:
    """What a query's settings ask for; None where they do not ask."""
    if settings.get(USE, "0").lower() not in ("1", "true"):
        return None
    try:
        seconds = float(settings.get(LIFE, DEFAULT_SECONDS))
    except ValueError as cause:
        raise ServerError(BAD_ARGUMENTS, f"{LIFE} is {settings[LIFE][:40]!r}, which is no number") from cause
    if not seconds > 0:
        return None
    return Caching(
        seconds, account, database, tuple(sorted(item for item in settings.items() if item[0] not in SETTINGS))
    )


@dataclass(frozen=True, slots=True)
class _Key:
    caching: Caching
    sql: str
    format_name: str
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    pieces: tuple[bytes, ...]
    size: int
    ends: float


class ResultCache:
    """Used by all connections' threads."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        max_bytes: int = MAX_BYTES,
        max_entry_bytes: int = MAX_ENTRY_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._clock = clock
        self._max_bytes, self._max_entry_bytes, self._max_entries = max_bytes, max_entry_bytes, max_entries
        self._lock = threading.Lock()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._hits_counted = metrics.counter(CLICKHOUSE_CACHE_HITS)
        self._misses_counted = metrics.counter(CLICKHOUSE_CACHE_MISSES)
        metrics.gauge(CLICKHOUSE_CACHE_BYTES).set_function(lambda: self._size)
        metrics.gauge(CLICKHOUSE_CACHE_HIT_RATIO).set_function(self._hit_ratio)

    def answer(
        self,
        caching: Caching | None,
        sql: str,
        format_name: str,
        parameters: Mapping[str, str],
        ask: Callable[[], Generator[bytes, None, None]],
    ) -> Generator[bytes, None, None]:
        """The pieces of the result, from here or by asking. Closing it ends the query."""
        if caching is None:
            yield from ask()
            return
        key = _Key(caching, sql, format_name, tuple(sorted(parameters.items())))
        if (found := self._find(key)) is not None:
            yield from found
            return
        began, pieces, size = self._clock(), list[bytes](), 0
        with closing(ask()) as stream:
            for piece in stream:
                size += len(piece)
                if size <= self._max_entry_bytes:
                    pieces.append(piece)
                else:
                    pieces.clear()
                yield piece
        if size <= self._max_entry_bytes:
            self._keep(key, _Entry(tuple(pieces), size, began + caching.seconds))

    def _find(self, key: _Key) -> Iterator[bytes] | None:
        with self._lock:
            self._drop_ended()
            found = self._entries.get(key)
            if found is None:
                self._misses += 1
                self._misses_counted.inc()
                return None
            self._hits += 1
            self._hits_counted.inc()
            return iter(found.pieces)

    def _keep(self, key: _Key, entry: _Entry) -> None:
        with self._lock:
            self._drop_ended()
            self._drop(key)
            self._entries[key] = entry
            self._size += entry.size
            while self._size > self._max_bytes or len(self._entries) > self._max_entries:
                self._drop(next(iter(self._entries)))

    def _drop_ended(self) -> None:
        now = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.ends <= now]:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self._size -= dropped.size

    def _hit_ratio(self) -> float:
        asked = self._hits + self._misses
        return self._hits / asked if asked else 0.0
