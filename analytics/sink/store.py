"""The sink's side of ClickHouse: rows in under a token, and which events are there already.

Every method either did its work or raised DBError (`db.clickhouse_unavailable`) or APIError; repeating a call changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from clickhouse_driver import Client

from analytics.client import address_of, connect, told
from analytics.sink.ledger import Range
from analytics.sink.rows import COLUMNS, EVENT_ID, INSTANCE, TS, Row, columns
from core.settings import ClickHouseSettings

# A list of ids is part of the statement's text.
_IDS_AT_ONCE = 20_000
_QUERY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Inserted:
    """One line of the table `batches`."""

    batch: Range
    records: int
    events: int
    duplicates: int
    poison: int


class Store:
    """One connection, made when it is needed; not thread-safe."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._address = address_of(settings)
        self._client: Client | None = None

    def insert(self, batch: Range, rows: Sequence[Row]) -> None:
        """The rows of a batch; the token makes it one insert, however often it is asked for."""
        settings = {
            "insert_deduplication_token": batch.token,
            "insert_deduplicate": 1,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            # On by default in new servers; an asynchronous insert may return before it is durable.
            "async_insert": 0,
            # An old history has many months at once.
            "max_partitions_per_insert_block": 0,
            # On a cluster the Distributed table passes the rows on before it answers.
            "insert_distributed_sync": 1,
        }
        with told(self._address):
            self._connection().execute(
                f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES",
                columns(list(rows)),
                columnar=True,
                settings=settings,
            )

    def note(self, inserted: Sequence[Inserted]) -> None:
        """For the audit. The same line twice is one."""
        rows = [(*_place(one.batch), one.records, one.events, one.duplicates, one.poison) for one in inserted]
        names = "_topic, _partition, first, last, records, events, duplicates, poison"
        with told(self._address):
            self._connection().execute(f"INSERT INTO batches ({names}) VALUES", rows, settings={"async_insert": 0})

    def elsewhere(self, batch: Range, rows: Sequence[Row]) -> set[UUID]:
        """Ids of these rows that are in the table from another place of the log."""
        found: set[UUID] = set()
        for start in range(0, len(rows), _IDS_AT_ONCE):
            found.update(self._elsewhere(batch, rows[start : start + _IDS_AT_ONCE]))
        return found

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()

    def _elsewhere(self, batch: Range, rows: Sequence[Row]) -> set[UUID]:
        times = [row[TS] for row in rows]
        instances = {row[INSTANCE] for row in rows}
        ids = ",".join(f"'{row[EVENT_ID]}'" for row in rows)
        sql = (
            "SELECT event_id FROM events"
            " WHERE instance IN %(instances)s"
            f" AND ts >= fromUnixTimestamp64Milli({min(times)}, 'UTC') AND ts <= fromUnixTimestamp64Milli({max(times)}, 'UTC')"
            f" AND event_id IN ({ids})"
            " AND NOT (_topic = %(topic)s AND _partition = %(partition)s AND _offset BETWEEN %(first)s AND %(last)s)"
        )
        given = {
            "instances": sorted(instances),
            "topic": batch.topic,
            "partition": batch.partition,
            "first": batch.first,
            "last": batch.last,
        }
        with told(self._address):
            answer = self._connection().execute(sql, given, settings={"max_query_size": _QUERY_BYTES})
        return {event_id for (event_id,) in answer}

    def _connection(self) -> Client:
        if self._client is None:
            self._client = connect(self._settings)
        return self._client


def _place(batch: Range) -> tuple[str, int, int, int]:
    return batch.topic, batch.partition, batch.first, batch.last
