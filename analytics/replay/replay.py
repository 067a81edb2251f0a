"""Topics read again into ClickHouse: what is missing there comes in, what is there stays once.

It stands beside the running sink and shares nothing with it: a reader in no group, tokens that no other run has, and only
offsets that the sink has behind it (analytics.replay.scope), so that no event is inserted by both. Of every batch the ids are
looked up, wherever in the log their rows say that they stand; only those that are nowhere are inserted. Records that cannot be
a row are counted: their dead letters were written by the sink.

The views count inserted rows as they come, in rollups that perhaps had them already. So a replay ends in a rebuild of every
hour it has read something of, whether it inserted anything or not: a run that died is made good by the next one. From the
first record to the end of the rebuild it holds the lock of repairs (analytics.repairs).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analytics.rebuild import plan
from analytics.rebuild.patience import patiently
from analytics.rebuild.period import HOUR_MS
from analytics.rebuild.rebuild import Done, Rebuilder
from analytics.rebuild.rollups import rollups
from analytics.repairs import Repair
from analytics.replay import audit, progress
from analytics.replay.reading import read
from analytics.replay.scope import Part
from analytics.sink.batches import Batch, Limits, Partition
from analytics.sink.decode import Decoder, decode
from analytics.sink.rows import COLUMNS, EVENT_ID, TS
from analytics.sink.store import Store
from core.kafka.clients import KafkaClients

RECEIVED_AT, OFFSET = COLUMNS.index("received_at"), COLUMNS.index("_offset")
_TELL_S = 2.0
# A batch is due by its size alone, or at the end.
_LIMITS = Limits(20_000, 16 << 20, float("inf"))


@dataclass(slots=True)
class Summary:
    """`present`: records whose event was there already, copies within the log among them."""

    records: int = 0
    inserted: int = 0
    present: int = 0
    poison: int = 0
    seconds: float = 0.0
    rebuilt: list[Done] = field(default_factory=list)
    # Hours older than the raw table's retention, whose counts were left as the inserts made them.
    left_hours: int = 0


class Replay:
    """One run. `kept_since`: the first hour of which the raw table has everything."""

    def __init__(self, *, store: Store, decoder: Decoder, rebuilder: Rebuilder, kept_since: int) -> None:
        self._store = store
        self._decoder = decoder
        self._rebuilder = rebuilder
        self._kept_since = kept_since
        self._tell: Callable[[str], None] = rebuilder.tell
        self._run = secrets.token_hex(4)
        self._hours: dict[str, set[int]] = {"ts": set(), "received_at": set()}
        self._summary = Summary()

    def run(self, clients: KafkaClients, parts: Sequence[Part]) -> Summary:
        """DBError where Kafka or ClickHouse stays away: what was inserted is there, and the next run makes it good."""
        began = time.monotonic()
        with self._rebuilder.repair() as repair:
            self._read(clients, parts, began, repair)
            self._rebuilder.faults.reach("before_rebuild")
            work = plan.of_replay(rollups(), self._hours, self._kept_since)
            self._summary.left_hours = sum(hour < self._kept_since for hour in self._hours["ts"])
            self._summary.rebuilt = self._rebuilder.run_in(repair, work)
        self._summary.seconds = time.monotonic() - began
        return self._summary

    def _read(self, clients: KafkaClients, parts: Sequence[Part], began: float, repair: Repair) -> None:
        held = {one.source: Partition(_LIMITS) for one in parts}
        reached = {one.source: one.first for one in parts}
        starts, total = sum(reached.values()), sum(one.offsets for one in parts)
        told_at = began
        for records in read(clients, parts):
            for record in records:
                source = (record.topic, record.partition)
                held[source].add(record, 0.0)
                reached[source] = record.offset + 1
                if held[source].due(0.0):
                    self._take(held[source], repair)
            now = time.monotonic()
            if now - told_at >= _TELL_S:
                told_at = now
                read_so_far = self._summary.records + sum(len(one) for one in held.values())
                self._tell(progress.line(sum(reached.values()) - starts, total, read_so_far, now - began))
        for waiting in held.values():
            while len(waiting):
                self._take(waiting, repair)

    def _take(self, held: Partition, repair: Repair) -> None:
        batch = held.take()
        if batch is not None:
            self._insert(batch, repair)

    def _insert(self, batch: Batch, repair: Repair) -> None:
        decoded = decode(batch.records, self._decoder)
        rows, poison = decoded.rows, {record.offset for record, _ in decoded.poison}
        there = patiently(lambda: self._store.places(rows), self._tell)
        missing = [row for row in rows if row[EVENT_ID] not in there]
        if missing:
            token = f"replay-{self._run}-{batch.range.token}"
            patiently(repair.check, self._tell)
            patiently(lambda: self._store.insert_as(token, missing), self._tell)
            self._rebuilder.faults.reach("after_replayed")
        here = {row[OFFSET] for row in rows if (*batch.source, row[OFFSET]) in there.get(row[EVENT_ID], ())}
        patiently(lambda: self._note(batch, here.union(row[OFFSET] for row in missing), poison), self._tell)
        for row in rows:
            self._hours["ts"].add(row[TS] // HOUR_MS)
            self._hours["received_at"].add(row[RECEIVED_AT] // HOUR_MS)
        summary = self._summary
        summary.records += len(batch.records)
        summary.inserted += len(missing)
        summary.poison += len(poison)
        summary.present += len(batch.records) - len(missing) - len(poison)

    def _note(self, batch: Batch, rows: set[int], poison: set[int]) -> None:
        where = batch.range
        noted = self._store.noted(where.topic, where.partition, where.first, where.last)
        if lines := audit.lines(batch, noted, rows, poison):
            self._store.note(lines)
