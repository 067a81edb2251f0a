"""The sink's side of ClickHouse: rows in under a token, and which events are there already.

Every method either did its work or raised DBError (`db.clickhouse_unavailable`) or APIError; repeating a call changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from clickhouse_driver import Client

from analytics import gate
from analytics.client import address_of, connect, told
from analytics.schema.engines import Engines
from analytics.sink.ledger import Range
from analytics.sink.rows import COLUMNS, EVENT_ID, INSTANCE, TS, Row, columns
from core.settings import ClickHouseSettings

# Up to so many ids stand in the statement; more go beside it as a table, which is thirty times as fast.
_IDS_IN_TEXT = 200
# Topic, partition, offset.
Place = tuple[str, int, int]


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
        self._engines = Engines(settings.database, settings.cluster)
        self._client: Client | None = None

    def gates(self) -> gate.View:
        """What holds inserts back; those of rebuilds that died are taken down."""
        with told(self._address):
            return gate.look(self._connection(), self._engines)

    def insert(self, batch: Range, rows: Sequence[Row]) -> None:
        """The rows of a batch; the token makes it one insert, however often it is asked for."""
        self.insert_as(batch.token, rows)

    def insert_as(self, token: str, rows: Sequence[Row]) -> None:
        """Rows that are no batch of the sink's, under a token of their own."""
        settings = {
            "insert_deduplication_token": token,
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
        rows = [(*_bounds(one.batch), one.records, one.events, one.duplicates, one.poison) for one in inserted]
        names = "_topic, _partition, first, last, records, events, duplicates, poison"
        with told(self._address):
            self._connection().execute(f"INSERT INTO batches ({names}) VALUES", rows, settings={"async_insert": 0})

    def elsewhere(self, batch: Range, rows: Sequence[Row]) -> set[UUID]:
        """Ids of these rows that are in the table from another place of the log; an event has one topic."""
        not_here = "_topic = %(topic)s AND NOT (_partition = %(partition)s AND _offset BETWEEN %(first)s AND %(last)s)"
        here = {"topic": batch.topic, "partition": batch.partition, "first": batch.first, "last": batch.last}
        return {event_id for event_id, *_ in self._find(rows, not_here, here)}

    def places(self, rows: Sequence[Row]) -> dict[UUID, set[Place]]:
        """Where in the log those of these events stand that are in the table."""
        found: dict[UUID, set[Place]] = {}
        for event_id, topic, partition, offset in self._find(rows):
            found.setdefault(event_id, set()).add((topic, partition, offset))
        return found

    def noted(self, topic: str, partition: int, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges that are in the table `batches` and touch that one, in order."""
        sql = (
            "SELECT DISTINCT first, last FROM batches WHERE _topic = %(topic)s AND _partition = %(partition)s"
            " AND last >= %(first)s AND first <= %(last)s ORDER BY first, last"
        )
        given = {"topic": topic, "partition": partition, "first": first, "last": last}
        with told(self._address):
            return [(int(low), int(high)) for low, high in self._connection().execute(sql, given)]

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()

    def _find(
        self, rows: Sequence[Row], condition: str = "1", given: Mapping[str, Any] | None = None
    ) -> list[tuple[UUID, str, int, int]]:
        """Id and place of the rows of the table that have an id of these and fulfil the condition."""
        if not rows:
            return []
        times = [row[TS] for row in rows]
        ids, tables = _listed([row[EVENT_ID] for row in rows])
        sql = (
            "SELECT event_id, _topic, _partition, _offset FROM events"
            " WHERE instance IN %(instances)s"
            f" AND ts >= fromUnixTimestamp64Milli({min(times)}, 'UTC')"
            f" AND ts <= fromUnixTimestamp64Milli({max(times)}, 'UTC')"
            f" AND event_id GLOBAL IN ({ids}) AND {condition}"
        )
        values = {"instances": sorted({row[INSTANCE] for row in rows}), **(given or {})}
        with told(self._address):
            found: list[tuple[UUID, str, int, int]] = self._connection().execute(sql, values, external_tables=tables)
        return found

    def _connection(self) -> Client:
        if self._client is None:
            self._client = connect(self._settings)
        return self._client


def _bounds(batch: Range) -> tuple[str, int, int, int]:
    return batch.topic, batch.partition, batch.first, batch.last


def _listed(ids: Sequence[UUID]) -> tuple[str, list[dict[str, Any]]]:
    """What stands between the brackets of IN, and the tables that go with the statement."""
    if len(ids) <= _IDS_IN_TEXT:
        return ",".join(f"'{one}'" for one in ids), []
    wanted = {"name": "wanted", "structure": [("id", "UUID")], "data": [(one,) for one in ids]}
    return "SELECT id FROM wanted", [wanted]
