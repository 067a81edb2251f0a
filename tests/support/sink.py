"""A log with events of every topic that the sink reads, and when ClickHouse says the same as it."""

from __future__ import annotations

import itertools
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from analytics.sink.ledger import to_replay
from analytics.sink.rows import TOPICS
from core.errors import PoisonError
from core.settings import ClickHouseSettings
from tests.support import events as make
from tests.support.streams import Streams
from tests.support.waiting import wait_until

# Everything else on the machine may be running too: an insert feeds eight tables.
SECONDS = 180
_numbers = itertools.count()


def produce(streams: Streams, count: int) -> None:
    """So many messages with statuses, sessions, results and limits, every tenth twice; and a record that is none."""
    instances = [f"i-{number}" for number in range(6)]
    for _ in range(count):
        number = next(_numbers)
        instance = instances[number % len(instances)]
        at = make.BASE_MS + number * 97_000
        put(streams, "events.message", instance, make.message(instance, number * 10, at, direction="out"))
        put(
            streams,
            "events.status",
            instance,
            make.status(instance, number * 10 + 1, at + 900, f"M{number * 10}", "delivered"),
        )
        if number % 5 == 0:
            put(streams, "events.session", instance, make.session(instance, number * 10 + 2, at, "online"))
            put(streams, "results", instance, make.result(instance, f"c-{number}", at, "failed", 1))
        if number % 10 == 0:
            put(streams, "events.message", instance, make.message(instance, number * 10, at, direction="out"))
        if number % 20 == 7 and number >= 20:
            earlier = number - 20
            there = instances[earlier % len(instances)]
            before = make.BASE_MS + earlier * 97_000
            put(streams, "events.message", there, make.message(there, earlier * 10, before, direction="out"))
    streams.put("events.message", instances[0], b"no avro")
    streams.flush()


def put(streams: Streams, topic: str, instance: str, record: dict[str, Any]) -> None:
    streams.put(topic, instance, streams.codec.encode(topic, record))


def log_events(streams: Streams) -> tuple[list[make.Event], int]:
    """Every event of the log as often as it stands there, and how many records are none."""
    found, poison = [], 0
    for topic in TOPICS:
        for record in streams.dump(topic):
            try:
                found.append(make.identity(topic, record.partition, streams.codec.decode(topic, record.value)))
            except PoisonError:
                poison += 1
    return found, poison


def settled(streams: Streams) -> bool:
    """The group stands at the end of every partition and nothing is pending."""
    prefix = streams.settings.kafka.prefix
    ends = {(record.topic, record.partition): record.offset + 1 for topic in TOPICS for record in streams.dump(topic)}
    asked = ConsumerGroupTopicPartitions("sink", [TopicPartition(prefix + topic, number) for topic, number in ends])
    # Named: its futures end with it.
    admin = streams.clients.admin()
    answer = admin.list_consumer_group_offsets([asked])["sink"].result(60)
    return all(
        entry.offset >= ends[topic, entry.partition]
        and to_replay(topic, entry.partition, entry.offset, entry.metadata) is None
        for entry in answer.topic_partitions
        for topic in [entry.topic.removeprefix(prefix)]
    )


def wait_equal(streams: Streams, database: ClickHouseSettings) -> None:
    wait_until(lambda: settled(streams), SECONDS, "the sink is done")
    found, poison = log_events(streams)
    assert len(found) > len(set(found)), "the log has copies, or this proves less than it says"
    assert make.differences(found, database) == []
    letters = {
        (letter["origin_topic"], letter["partition"], letter["offset"]) for letter in streams.records("deadletter")
    }
    assert len(letters) == poison
