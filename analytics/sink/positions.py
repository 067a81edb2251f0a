"""Where the group stands: read when partitions are assigned, written as the ledger's entries.

A commit is refused by Kafka when the group has moved on; then nothing of it counts and the partition is not ours any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from analytics.sink.batches import Source
from analytics.sink.ledger import Entry, Range, to_replay
from core.kafka.clients import KafkaClients
from core.kafka.table import watermarks
from core.telemetry.logs import get_logger

CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins, and the range to be inserted again first. `gone` offsets are not in the log any more."""

    position: int
    replay: Range | None = None
    gone: int = 0


class Positions:
    """`consumer` is the member of `group`; `prefix` that of the topics."""

    def __init__(self, clients: KafkaClients, group: str, consumer: Consumer, prefix: str) -> None:
        self._clients = clients
        self._group = group
        self._consumer = consumer
        self._prefix = prefix
        self._log = get_logger(__name__)

    def starts(self, partitions: Sequence[TopicPartition]) -> dict[Source, Start]:
        """KafkaException where Kafka does not answer, DBError where a mark cannot be followed.

        It is asked for inside a callback of the member, so another client asks: a member that does so itself ends the
        process when one more callback follows in the same call (confluent-kafka's CallState is gone by then).
        """
        asker = self._clients.marks_reader(self._group)
        try:
            # A static member is first given what it had, deleted topics too: those have no first offset to ask for.
            known = asker.list_topics(timeout=CALL_S).topics
            out = {}
            for entry in asker.committed(list(partitions), timeout=CALL_S):
                if entry.error is not None:
                    raise KafkaException(entry.error)
                low = watermarks(asker, entry.topic, entry.partition, CALL_S)[0] if entry.topic in known else 0
                topic = entry.topic.removeprefix(self._prefix)
                out[topic, entry.partition] = _start(entry, topic, low)
            return out
        finally:
            asker.close()

    def commit(self, entries: Mapping[Source, Entry]) -> bool:
        """All of them or none, as far as this process may know; False: ask again once the group has settled."""
        offsets = [
            TopicPartition(self._prefix + topic, partition, entry.position, metadata=entry.metadata)
            for (topic, partition), entry in entries.items()
        ]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as cause:
            self._log.warning("commit_failed", kafka_error=cause.args[0].name(), detail=cause.args[0].str())
            return False
        faults = {answer.error.name() for answer in answers if answer.error is not None}
        if faults:
            self._log.warning("commit_refused", kafka_errors=sorted(faults))
        return not faults

    def lag(self, positions: Mapping[Source, int], *, ask: Iterable[Source]) -> dict[Source, int]:
        """Records behind the end. `ask` names partitions that are not being read: Kafka is asked for their end."""
        out: dict[Source, int] = {}
        asked = set(ask)
        for source, position in positions.items():
            where = TopicPartition(self._prefix + source[0], source[1])
            try:
                ends = self._consumer.get_watermark_offsets(where, CALL_S / 10, cached=source not in asked)
            except KafkaException:
                # Kafka is away: each further question would wait as long.
                return out
            if ends is not None and ends[1] >= 0:
                out[source] = max(0, int(ends[1]) - position)
        return out


def _start(entry: TopicPartition, topic: str, low: int) -> Start:
    """`low` is the first offset that is still in the log."""
    if entry.offset < 0:
        return Start(low)
    named = to_replay(topic, entry.partition, entry.offset, entry.metadata)
    return Start(max(entry.offset, low), named, max(0, low - entry.offset))
