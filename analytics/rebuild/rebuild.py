"""Rollups made again from the raw table, so that they say what it says, while sinks run and whatever dies.

It holds the lock of repairs (analytics.repairs), so that no other rebuild and no replay works meanwhile. Steps, behind the gate
(analytics.gate, with the proof that no sink inserts meanwhile and nothing stale is replaced):
1. stage: an empty table like each rollup;
2. hold: put up the gate, look whether the lock is still its own, wait until the sinks have finished what they began, close it;
3. fill: the view's own SELECT over `events FINAL` for the rows of the period, and the rollup's other rows of the same
   partitions as they stand;
4. replace: each partition at once, by REPLACE PARTITION; it keeps the tokens of the sinks' batches;
5. open: drop the staging tables and the gate.
Before a partition was replaced it is as it was; after that it is right, and nothing was inserted in between. So this may die
at any step, and is right when it is run again. Where the ClickHouse server died, it begins again by itself.

On a cluster the same SQL runs through the Distributed tables, and partitions are replaced ON CLUSTER: that was not run. A
single server older than 26.6 brings replaced parts back when it is killed within minutes (ClickHouse issue 107605).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_driver import Client

from analytics import gate as gates
from analytics.client import address_of, connect, told
from analytics.rebuild.hold import Hold
from analytics.rebuild.patience import patiently
from analytics.rebuild.plan import Work
from analytics.repairs import Repair
from analytics.schema.engines import Engines
from analytics.sink.group import standings
from analytics.sink.rows import TOPICS
from analytics.sink.sink import GROUP
from core.errors import APIError
from core.faults import Faults
from core.kafka.clients import KafkaClients
from core.settings import Settings

_ANSWER_S = 3600
_FILL: dict[str, Any] = {
    # Two blocks of the same rows are two blocks.
    "insert_deduplicate": 0,
    "async_insert": 0,
    "max_partitions_per_insert_block": 0,
    "insert_distributed_sync": 1,
    "max_bytes_before_external_group_by": 1 << 30,
    # The hours of a replay are a list in the statement.
    "max_query_size": 64 << 20,
}
# A period without events leaves an empty partition; newer servers want to be told that this is meant.
_EMPTY = "allow_replace_partition_from_empty_source"
_KEEPS_REPLACED_AWAY = (26, 6)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a rollup. `rows` it has in its period, where they were replaced; `events_before` and `events_after`:
    what it counted there, if it counts."""

    work: Work
    seconds: float
    rows: int | None = None
    events_before: int | None = None
    events_after: int | None = None


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """`again` is the command that has to be run again when this process dies; `wait_s` how long another repair may take
    to end, and sinks to finish what they began."""

    settings: Settings
    again: str
    faults: Faults
    tell: Callable[[str], None]
    wait_s: float = 60.0

    def run(self, work: Sequence[Work]) -> list[Done]:
        """DBError or APIError where it could not be done; what was replaced until then is right."""
        with self.repair() as repair:
            return self.run_in(repair, work)

    def repair(self) -> Repair:
        return Repair(self.settings.clickhouse, self.again, self.tell, self.wait_s)

    def run_in(self, repair: Repair, work: Sequence[Work]) -> list[Done]:
        """As a part of it."""
        wanted = [one for one in work if one.period]
        return patiently(lambda: _Attempt(self, repair, wanted).run(), self.tell)


class _Attempt:
    """One way through the steps."""

    def __init__(self, asked: Rebuilder, repair: Repair, work: Sequence[Work]) -> None:
        self._asked = asked
        self._repair = repair
        self._work = work
        self._id = secrets.token_hex(4)
        self._engines = Engines(asked.settings.clickhouse.database, asked.settings.clickhouse.cluster)
        self._client: Client = connect(asked.settings.clickhouse, answer_seconds=_ANSWER_S, **_FILL)

    def run(self) -> list[Done]:
        try:
            with told(address_of(self._asked.settings.clickhouse)):
                self._prepare()
                added = [self._add(one) for one in self._work if not one.replaces]
                return [*added, *self._replace_all([one for one in self._work if one.replaces])]
        finally:
            self._client.disconnect()

    def _prepare(self) -> None:
        version = str(self._client.execute("SELECT version()")[0][0])
        if self._engines.cluster is None and _numbers(version) < _KEEPS_REPLACED_AWAY:
            self._asked.tell(f"ClickHouse {version}: should it be killed in the next 10 minutes, run this again")
        self._repair.clear()

    # -- rows that merge

    def _add(self, work: Work) -> Done:
        began = time.monotonic()
        self._insert(work, work.rollup.name, work.rollup.rows(self._engines, work.period.condition(work.rollup.of)))
        self._asked.tell(f"{work.rollup.name}: has what it lacked")
        return Done(work, time.monotonic() - began)

    # -- rows that are replaced

    def _replace_all(self, work: Sequence[Work]) -> list[Done]:
        if not work:
            return []
        asked, faults = self._asked, self._asked.faults
        for one in work:
            for statement in one.rollup.staging(self._engines, self._id):
                self._client.execute(statement)
        faults.reach("after_staging")
        clients = KafkaClients(asked.settings.kafka, "wharf-rebuild")
        with Hold(asked.settings.clickhouse, self._engines, self._id, asked.again, asked.tell) as hold:
            faults.reach("after_gate")
            self._repair.check()
            hold.close(lambda: standings(clients, GROUP, TOPICS), asked.wait_s)
            faults.reach("after_closed")
            began = time.monotonic()
            try:
                with told(address_of(asked.settings.clickhouse)):
                    filled = [self._fill(one) for one in work]
                    done = [self._replace(one, partitions, began) for one, partitions in zip(work, filled, strict=True)]
            except APIError as cause:
                if hold.broken or gates.staging_name(self._id, "") in cause.message:
                    text = "the rebuild stood still for too long and was given up by others: run it again"
                    raise APIError("api.conflict", text) from cause
                raise
            faults.reach("before_open")
        asked.tell(f"sinks were held for {time.monotonic() - began:.1f} s")
        return done

    def _fill(self, work: Work) -> list[str]:
        """The partitions that are to be replaced."""
        began = time.monotonic()
        rollup, database = work.rollup, self._engines.database
        staging, condition = gates.staging_name(self._id, rollup.name), work.period.condition(rollup.time)
        self._insert(work, staging, rollup.rows(self._engines, outcome=condition))
        partitions = sorted(self._partitions(staging) | self._partitions(rollup.name, condition))
        if partitions:
            listed = ", ".join(f"'{partition}'" for partition in partitions)
            rest = f"(SELECT * FROM {database}.{rollup.name} WHERE _partition_id IN ({listed}) AND NOT {condition})"
            self._insert(work, staging, rest)
        self._asked.tell(f"{rollup.name}: computed in {time.monotonic() - began:.1f} s")
        self._asked.faults.reach("after_fill")
        return partitions

    def _replace(self, work: Work, partitions: Sequence[str], began: float) -> Done:
        rollup, engines = work.rollup, self._engines
        staging, condition = gates.staging_name(self._id, rollup.name), work.period.condition(rollup.time)
        before = self._events(work, rollup.name)
        after = self._events(work, staging)
        rows = self._client.execute(f"SELECT count() FROM {engines.database}.{staging} WHERE {condition}")[0][0]
        known = self._client.execute("SELECT count() FROM system.settings WHERE name = %(name)s", {"name": _EMPTY})
        settings: dict[str, Any] = {_EMPTY: 1} if known[0][0] else {}
        if engines.cluster is not None:
            settings["alter_sync"] = 2
        for partition in partitions:
            self._client.execute(
                f"ALTER TABLE {engines.table(rollup.name)} {engines.on_cluster} REPLACE PARTITION ID '{partition}' "
                f"FROM {engines.table(staging)}",
                settings=settings,
            )
            self._asked.faults.reach("after_replace")
        counts = "" if before is None else f", counted {before:,} events, counts {after:,}"
        self._asked.tell(f"{rollup.name}: {rows:,} rows {work.period}{counts}")
        return Done(work, time.monotonic() - began, int(rows), before, after)

    def _insert(self, work: Work, table: str, source: str) -> None:
        database = self._engines.database
        rows = self._client.execute(
            "SELECT name FROM system.columns WHERE database = %(database)s AND table = %(table)s ORDER BY position",
            {"database": database, "table": work.rollup.name},
        )
        columns = ", ".join(name for (name,) in rows)
        self._client.execute(f"INSERT INTO {database}.{table} ({columns}) SELECT {columns} FROM {source}")

    def _partitions(self, table: str, condition: str = "1") -> set[str]:
        sql = f"SELECT DISTINCT _partition_id FROM {self._engines.database}.{table} WHERE {condition}"
        return {str(partition) for (partition,) in self._client.execute(sql)}

    def _events(self, work: Work, table: str) -> int | None:
        if not work.rollup.sums:
            return None
        condition = work.period.condition(work.rollup.time)
        return int(
            self._client.execute(f"SELECT sum(events) FROM {self._engines.database}.{table} WHERE {condition}")[0][0]
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
