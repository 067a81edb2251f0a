"""An independent read_committed reader of topics: for `wharf tail` and for the oracle that checks what the log holds.

It shares nothing with the loop but the client settings. Without `follow` it ends at the high watermarks of the moment it
began, waiting for transactions that are open below them: what was committed before the call is in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from core.errors import APIError, DBError
from core.kafka.clients import KafkaClients
from core.kafka.fetch import in_record
from core.kafka.processor import InRecord
from core.kafka.table import watermarks

_CALL_S = 10.0
_WAIT_S = 0.1
_BURST = 500


@dataclass(frozen=True, slots=True)
class Beginning:
    """From the first record that is kept."""


@dataclass(frozen=True, slots=True)
class End:
    """Only what comes from now on."""


@dataclass(frozen=True, slots=True)
class Time:
    """From the first record at or after that time (broker's or producer's, as the topic is set)."""

    epoch_ms: int


@dataclass(frozen=True, slots=True)
class Offset:
    """From that offset in every partition."""

    offset: int


Start = Beginning | End | Time | Offset


def dump(
    clients: KafkaClients,
    topics: Sequence[str],
    *,
    start: Start | None = None,
    follow: bool = False,
    until: Callable[[], bool] = lambda: False,
) -> Iterator[InRecord]:
    """Records of the topics (names without prefix), in order per partition, until the end, or for ever, or `until`."""
    prefix = clients.settings.prefix
    reader = clients.reader("wharf.dump", wait_ms=100 if follow else 20)
    try:
        partitions = _partitions(reader, [prefix + topic for topic in topics])
        ends = {} if follow else _ends(clients, partitions)
        starts = _starts(reader, partitions, Beginning() if start is None else start)
        todo = {(entry.topic, entry.partition) for entry in partitions}
        todo -= {source for source, end in ends.items() if end <= starts[source]}
        reader.assign([TopicPartition(topic, number, starts[topic, number]) for topic, number in sorted(todo)])
        while todo and not until():
            first = reader.poll(_WAIT_S)
            for message in [] if first is None else [first, *reader.consume(_BURST, 0)]:
                fault = message.error()
                topic, number = str(message.topic()), int(message.partition() or 0)
                if fault is None:
                    yield in_record(message, topic.removeprefix(prefix))
                elif fault.code() == KafkaError._PARTITION_EOF:
                    if not follow and int(message.offset() or 0) >= ends[topic, number]:
                        todo.discard((topic, number))
                elif fault.fatal() or fault.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise DBError("db.kafka_unavailable", f"{topic}[{number}]: {fault.str()}")
    except KafkaException as cause:
        raise DBError("db.kafka_unavailable", str(cause.args[0].str())) from cause
    finally:
        reader.close()


def _partitions(reader: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    found = reader.list_topics(timeout=_CALL_S).topics
    missing = sorted(set(topics) - set(found))
    if missing:
        raise APIError("api.not_found", f"no such topic: {', '.join(missing)}")
    return [TopicPartition(topic, number) for topic in topics for number in found[topic].partitions]


def _ends(clients: KafkaClients, partitions: Sequence[TopicPartition]) -> dict[tuple[str, int], int]:
    # The high watermark, which only a read_uncommitted consumer tells.
    probe = clients.marks_reader("wharf.dump")
    try:
        return {
            (entry.topic, entry.partition): watermarks(probe, entry.topic, entry.partition, _CALL_S)[1]
            for entry in partitions
        }
    finally:
        probe.close()


def _starts(reader: Consumer, partitions: Sequence[TopicPartition], start: Start) -> dict[tuple[str, int], int]:
    if isinstance(start, Beginning):
        return {(entry.topic, entry.partition): OFFSET_BEGINNING for entry in partitions}
    bounds = {
        (entry.topic, entry.partition): watermarks(reader, entry.topic, entry.partition, _CALL_S)
        for entry in partitions
    }
    if isinstance(start, End):
        return {source: high for source, (_low, high) in bounds.items()}
    if isinstance(start, Offset):
        return {source: min(max(start.offset, low), high) for source, (low, high) in bounds.items()}
    wanted = [TopicPartition(topic, number, start.epoch_ms) for topic, number in bounds]
    found = {(entry.topic, entry.partition): entry.offset for entry in reader.offsets_for_times(wanted, _CALL_S)}
    # A negative offset: nothing at or after that time.
    return {source: bounds[source][1] if offset < 0 else offset for source, offset in found.items()}
