"""A process around the transactional loop that copies `in` (and `side`) to `out`, for the tests of the kernel.

Per partition it counts what it copied, in its state topic; each copy carries the count, so that a lost or doubled step of
the state shows as a gap or a repetition in the log. With `items` it also writes, overwrites and deletes as many items, and
compares what it was given at a take-over with a reading of its own. Told what happens by one JSON line each on standard
output.
Started with a JSON object as its only argument.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Message

from core.errors import Fenced
from core.faults import faults_from
from core.kafka.clients import KafkaClients
from core.kafka.loop import TransactionLoop
from core.kafka.marks import is_own_key
from core.kafka.pace import Pace
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.kafka.table import read_to_end, watermarks
from core.settings import KafkaSettings, Settings
from core.telemetry.logs import configure_logging
from core.topics import Retention, Topic

COUNT = b"count"
TOPICS = {"state": Topic("state", None, Retention.COMPACT, internal=True)}


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


Items = dict[bytes, bytes]


def put(items: Items, key: object, value: object) -> None:
    """The newest last, as a compacted log has them."""
    assert isinstance(key, bytes)
    items.pop(key, None)
    if isinstance(value, bytes):
        items[key] = value


def read_state(settings: KafkaSettings, partition: int) -> Items:
    """The whole state of a partition, read by nothing that a take-over uses but the plain reader."""
    clients, topic = KafkaClients(settings, "verify"), settings.prefix + "state"
    probe = clients.marks_reader("verify")
    try:
        low, high = watermarks(probe, topic, partition, 10)
    finally:
        probe.close()
    items: Items = {}

    def take(message: Message) -> None:
        if not is_own_key(message.key() if isinstance(message.key(), bytes) else None):
            put(items, message.key(), message.value())

    for _ in read_to_end(clients, "verify", topic, {partition: low}, {partition: high}, take):
        pass
    return items


class Copy:
    """Copies records; effects and counts are kept as the Processor contract asks."""

    def __init__(
        self,
        name: str,
        *,
        side: bool,
        table: bool,
        stop_at: str | None,
        items: int,
        read_state: Callable[[int], Items],
    ) -> None:
        self.name = name
        self.input_topic = "in"
        self.side_topics: Sequence[str] = ("side",) if side else ()
        self.table_topics: Sequence[str] = ("tab",) if table else ()
        self.state_topic: str | None = "state"
        self._stop_at = stop_at
        self._counts: dict[int, int] = {}
        self._staged: dict[int, int] = {}
        self._table: dict[bytes, bytes | None] = {}
        self._owned: set[int] = set()
        self._item_count = items
        self._items: dict[int, Items] = {}
        self._read_state = read_state
        self.total = 0

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None:
        assert key == COUNT or self._item_count, key
        put(self._items.setdefault(partition, {}), key, value)
        if key == COUNT:
            self._counts[partition] = int(value or b"0")

    def table(self, record: InRecord) -> None:
        assert record.key is not None
        self._table[record.key] = record.value
        say(
            "table",
            partition=record.partition,
            owned=record.partition in self._owned,
            value=(record.value or b"").decode(),
        )

    def owned(self, partition: int, positions: dict[tuple[str, int], int]) -> None:
        self._owned.add(partition)
        at = {topic: offset for (topic, _), offset in positions.items()}
        given = self._items.pop(partition, {})
        if self._item_count:
            there = self._read_state(partition)
            say("restored", partition=partition, items=len(given), same=list(given.items()) == list(there.items()))
        say("owned", partition=partition, positions=at, count=self._counts.get(partition, 0))

    def revoked(self, partition: int) -> None:
        self._forget(partition)
        say("revoked", partition=partition)

    def lost(self, partition: int) -> None:
        self._forget(partition)
        say("lost", partition=partition)

    def _forget(self, partition: int) -> None:
        self._owned.discard(partition)
        self._counts.pop(partition, None)
        self._staged.pop(partition, None)
        self._items.pop(partition, None)

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        batch: Batch = {}
        for record in records:
            work = batch.setdefault(record.partition, PartitionWork())
            count = self._staged.get(record.partition, self._counts.get(record.partition, 0)) + 1
            self._staged[record.partition] = count
            copy = {"id": (record.value or b"").decode(), "count": count, "from": record.topic}
            work.records.append(OutRecord("out", record.key, json.dumps(copy).encode(), partition=record.partition))
            work.positions[(record.topic, record.partition)] = record.offset + 1
            if self._item_count:
                number = zlib.crc32(record.value or b"")
                value = None if number % 4 == 0 else record.value
                key = b"item%d" % (number // 4 % self._item_count)
                work.records.append(OutRecord("state", key, value, partition=record.partition))
        for partition, work in batch.items():
            work.records.append(OutRecord("state", COUNT, b"%d" % self._staged[partition], partition=partition))
        if batch and self._stop_at == "collected":
            self._stop_at = None
            say("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)
        return batch

    def committed(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._counts[partition] = self._staged.pop(partition)
        self.total += 1
        say("committed", partitions=sorted(partitions))

    def dropped(self, partition: int) -> None:
        self._staged.pop(partition, None)
        say("dropped", partition=partition)


def main(config: dict[str, Any]) -> int:
    configure_logging(level="info", log_format="json", component="copy", slot=config["slot"])
    settings = Settings(kafka=KafkaSettings(bootstrap=config["bootstrap"], prefix=config["prefix"]))
    processor = Copy(
        config.get("name", "copy"),
        side=config.get("side", False),
        table=config.get("table", False),
        stop_at=config.get("stop_at"),
        items=config.get("items", 0),
        read_state=lambda partition: read_state(settings.kafka, partition),
    )
    loop = TransactionLoop(
        processor,
        settings,
        slot=config["slot"],
        session_timeout_ms=config.get("session_timeout_ms", 2000),
        topics=TOPICS,
        faults=faults_from(os.environ),
        pace=Pace(**config.get("pace", {})),
        standby=config.get("standby", False),
    )
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    threading.Thread(target=_watch_parent, daemon=True).start()
    if config.get("standby"):
        threading.Thread(target=_tell_roles, args=(loop,), daemon=True).start()
    say("started", pid=os.getpid())
    try:
        loop.run()
    except Fenced as cause:
        say("fenced", detail=cause.message)
        return 3
    say("stopped")
    return 0


def _tell_roles(loop: TransactionLoop) -> None:
    """Whenever they change."""
    told: list[dict[str, object]] = []
    while True:
        rows = [role.row() for role in loop.roles()]
        if rows != told:
            say("roles", rows=rows)
            told = rows
        time.sleep(0.05)


def _watch_parent() -> None:
    # The test's end of the pipe closes when the test ends, however it ends.
    sys.stdin.read()
    os._exit(9)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
