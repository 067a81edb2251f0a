"""Where the sink's group stands, seen from outside it: asked of Kafka, without joining the group or moving anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from analytics.sink.batches import Source
from analytics.sink.ledger import Range, to_replay
from core.errors import DBError
from core.kafka.clients import KafkaClients, answered

CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything below `position` is in ClickHouse (0 before the first commit); `pending` is being inserted, or was when
    its sink died."""

    position: int = 0
    pending: Range | None = None


def standings(clients: KafkaClients, group: str, topics: Iterable[str]) -> dict[Source, Standing]:
    """Of every partition of these topics. DBError where Kafka does not answer or a mark cannot be followed."""
    prefix = clients.settings.prefix
    try:
        # Named: its futures end with it.
        admin = clients.admin()
        known = admin.list_topics(timeout=CALL_S).topics
        wanted = [
            TopicPartition(prefix + topic, number)
            for topic in topics
            if prefix + topic in known
            for number in sorted(known[prefix + topic].partitions)
        ]
        asked = [ConsumerGroupTopicPartitions(group, wanted)]
        entries = answered(
            admin.list_consumer_group_offsets(asked, request_timeout=CALL_S)[group], CALL_S
        ).topic_partitions
    except KafkaException as cause:
        raise DBError(
            "db.kafka_unavailable", f"Kafka at {clients.settings.bootstrap}: {cause.args[0].str()}"
        ) from cause
    found = {}
    for entry in entries:
        if entry.error is not None:
            raise DBError("db.kafka_unavailable", f"{entry.topic}[{entry.partition}]: {entry.error.str()}")
        topic = entry.topic.removeprefix(prefix)
        found[topic, entry.partition] = _standing(entry, topic)
    return found


def _standing(entry: TopicPartition, topic: str) -> Standing:
    if entry.offset < 0:
        return Standing()
    return Standing(entry.offset, to_replay(topic, entry.partition, entry.offset, entry.metadata))
