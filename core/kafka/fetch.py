"""The inputs of owned partitions: one consumer assigned by hand, so that every position is explicit.

Tables are delivered apart and completely; records of inputs wait in fair buffers until the loop takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from core.errors import DBError, Fenced
from core.kafka.buffers import FairBuffers
from core.kafka.holdings import Source
from core.kafka.processor import InRecord
from core.telemetry.logs import get_logger

# What is buffered above which nothing more is fetched.
_HIGH_RECORDS = 10_000
_HIGH_BYTES = 32 << 20


def in_record(message: Message, topic: str) -> InRecord:
    """`topic` is the name without the prefix."""
    key, value = message.key(), message.value()
    # librdkafka gives a list of pairs; its type stubs also allow a mapping, which only producers take.
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return InRecord(
        topic,
        int(message.partition() or 0),
        int(message.offset() or 0),
        int(message.timestamp()[1]),
        key.encode() if isinstance(key, str) else key,
        value.encode() if isinstance(value, str) else value,
        tuple((name, text or b"") for name, text in headers),
    )


class Fetcher:
    """Not thread-safe; the loop's thread owns it."""

    def __init__(self, consumer: Consumer, prefix: str, tables: frozenset[str]) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._tables = tables
        self._buffers = FairBuffers()
        self._table_records: list[InRecord] = []
        self._log = get_logger(__name__)

    @property
    def buffered(self) -> int:
        return len(self._buffers)

    def add(self, starts: Mapping[Source, int]) -> None:
        """Read these from these offsets on."""
        self._consumer.incremental_assign(
            [TopicPartition(self._prefix + topic, partition, offset) for (topic, partition), offset in starts.items()]
        )
        for source in starts:
            self._buffers.open(source)

    def remove(self, partition: int) -> None:
        """Stop reading every topic of a partition and forget what was read of it."""
        gone = self._buffers.close(partition)
        if gone:
            named = [TopicPartition(self._prefix + topic, number) for topic, number in gone]
            self._consumer.incremental_unassign(named)
        self._table_records = [record for record in self._table_records if record.partition != partition]

    def fetch(self, count: int) -> bool:
        """Take over what has arrived, without waiting; True when there was something."""
        if len(self._buffers) >= _HIGH_RECORDS or self._buffers.bytes >= _HIGH_BYTES:
            return False
        # consume(n, 0) returns what is there; it does not serve the client's events when n is never reached, poll does.
        first = self._consumer.poll(0)
        if first is None:
            return False
        for message in (first, *self._consumer.consume(count, 0)):
            self._accept(message)
        return True

    def take(self, count: int, max_bytes: int) -> list[InRecord]:
        """Up to `count` records, a few of each partition at a time."""
        return self._buffers.take(count, max_bytes)

    def take_tables(self) -> list[InRecord]:
        """All table records that have arrived, in order per partition."""
        out, self._table_records = self._table_records, []
        return out

    def end(self, source: Source) -> int | None:
        """The end of a partition as the last fetch told it, without asking Kafka."""
        ends = self._consumer.get_watermark_offsets(TopicPartition(self._prefix + source[0], source[1]), cached=True)
        return None if ends is None or ends[1] < 0 else int(ends[1])

    def close(self) -> None:
        self._consumer.close()

    def _accept(self, message: Message) -> None:
        fault = message.error()
        if fault is not None:
            self._refuse(message, fault)
            return
        source = ((message.topic() or "").removeprefix(self._prefix), int(message.partition() or 0))
        if source not in self._buffers:
            # Fetched before the partition was removed.
            return
        record = in_record(message, source[0])
        if source[0] in self._tables:
            self._table_records.append(record)
        else:
            self._buffers.add(source, record)

    def _refuse(self, message: Message, fault: KafkaError) -> None:
        where: dict[str, Any] = {"topic": message.topic(), "partition": message.partition()}
        if fault.fatal():
            raise Fenced(f"{fault.name()}: {fault.str()}", **where)
        if fault.code() == KafkaError._AUTO_OFFSET_RESET and (where["topic"], where["partition"]) != (None, None):
            raise DBError("db.position_lost", f"the position is no longer in the topic: {fault.str()}", **where)
        self._log.warning("kafka_fetch_error", kafka_error=fault.name(), detail=fault.str(), **where)
