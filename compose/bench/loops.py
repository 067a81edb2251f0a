"""The bare loops beside the sink: the same records in the same batches into the same tables, without the ledger, the look-up of
copies, the group's commits and Kafka; and what each part of the way costs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from analytics.sink.decode import decode
from analytics.sink.ledger import Range
from analytics.sink.rows import columns, payload, row
from analytics.sink.store import Store
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.settings import ClickHouseSettings

# In the order of the way. Seconds of this thread on a processor; those of the look-up and of waiting for ClickHouse's
# answer to an insert are by the clock.
PARTS = ("avro", "rows", "json", "columns", "lookup", "insert", "waiting")


@dataclass(frozen=True, slots=True)
class Work:
    """Records of one batch of the sink."""

    range: Range
    records: tuple[InRecord, ...]


@dataclass(slots=True)
class Loop:
    rows: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        # The whole log is held here: the collector of cycles would go through it again and again.
        gc.disable()
        cpu, wall = time.process_time(), time.monotonic()
        yield
        self.cpu_s += time.process_time() - cpu
        self.seconds += time.monotonic() - wall
        gc.enable()


@dataclass(slots=True)
class Parts:
    """Seconds by part of the way, of all rows together."""

    rows: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    def us_per_row(self, part: str) -> float:
        return self.seconds[part] * 1e6 / self.rows

    @contextmanager
    def timed(self, part: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        began = clock()
        yield
        self.seconds[part] += clock() - began


def decode_and_insert(database: ClickHouseSettings, codec: Codec, batches: Sequence[Work]) -> Loop:
    out = Loop()
    with _store(database) as store, out.timed():
        for batch in batches:
            made = decode(batch.records, codec).rows
            store.insert(batch.range, made)
            out.rows += len(made)
    return out


def insert_ready(database: ClickHouseSettings, codec: Codec, batches: Sequence[Work]) -> Loop:
    """The rows were made before: only their insertion counts."""
    out = Loop()
    with _store(database) as store:
        for batch in batches:
            made = decode(batch.records, codec).rows
            with out.timed():
                store.insert(batch.range, made)
            out.rows += len(made)
    return out


def parts(database: ClickHouseSettings, codec: Codec, batches: Sequence[Work]) -> Parts:
    """Each part of the way by itself, batch by batch."""
    out = Parts()
    with _store(database) as store:
        for batch in batches:
            with out.timed("avro"):
                decoded = [codec.decode(each.topic, each.value) for each in batch.records]
            with out.timed("json"):
                for record in decoded:
                    payload(record)
            with out.timed("rows"):
                made = [row(record, origin) for record, origin in zip(decoded, batch.records, strict=True)]
            with out.timed("columns"):
                columns(made)
            with out.timed("lookup", time.perf_counter):
                store.elsewhere(batch.range, made)
            with out.timed("waiting", time.perf_counter), out.timed("insert"):
                store.insert(batch.range, made)
            out.rows += len(made)
    # What contains another part.
    out.seconds["waiting"] -= out.seconds["insert"]
    out.seconds["insert"] -= out.seconds["columns"]
    out.seconds["rows"] -= out.seconds["json"]
    return out


@contextmanager
def _store(database: ClickHouseSettings) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.close()
