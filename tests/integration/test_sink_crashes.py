"""Each event is in ClickHouse once, whatever dies: the sink at each step of its ledger, the server during inserts."""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from analytics.sink.ledger import to_replay
from analytics.sink.rows import TOPICS
from core.errors import PoisonError
from core.settings import ClickHouseSettings
from tests.support import events as make
from tests.support.clickhouse import RunningClickHouse, migrated, query
from tests.support.kafka import RunningKafka
from tests.support.streams import PARTITIONS, Process, Streams, running_streams
from tests.support.waiting import wait_until

POINTS = ("before_pending", "after_pending", "after_insert", "before_done", "after_done")
SMALL = {"WHARF_SINK__BATCH_RECORDS": "20", "WHARF_SINK__BATCH_MS": "100"}
# Everything else on the machine may be running too: an insert feeds eight tables.
SECONDS = 180
pytestmark = pytest.mark.timeout(900)
_numbers = itertools.count()


@pytest.fixture
def streams(kafka: RunningKafka, clickhouse: RunningClickHouse, tmp_path: Path) -> Iterator[Streams]:
    """Topics and a database of this test alone."""
    name = f"sink_{secrets.token_hex(4)}"
    env = {**clickhouse.env(name), **SMALL, "WHARF_ALLOW_FAULTS": "1"}
    migrated(clickhouse, name)
    with running_streams(kafka, f"{name}.", tmp_path, **env) as running:
        yield running


@pytest.fixture
def database(streams: Streams, clickhouse: RunningClickHouse) -> ClickHouseSettings:
    return clickhouse.settings(streams.env["WHARF_CLICKHOUSE__DATABASE"])


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
        entry.offset == ends[topic, entry.partition]
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


def start(streams: Streams, point: str | None = None, nth: int = 1) -> Process:
    if point is None:
        return streams.start_sink()
    return streams.start_sink(WHARF_TEST_FAULTS=json.dumps({"crash": {"point": point, "nth": nth}}))


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_each_event_is_there_once(
    streams: Streams, database: ClickHouseSettings, point: str
) -> None:
    """The first time the step is passed, then later ones; between the deaths more comes."""
    for nth in (1, 3):
        assert die(streams, start(streams, point, nth)) == -9, f"died at {point} number {nth}"
    produce(streams, 30)
    start(streams)
    wait_equal(streams, database)


def test_server_killed_during_inserts(
    streams: Streams, database: ClickHouseSettings, clickhouse: RunningClickHouse
) -> None:
    """It is away for as long as it takes to start; the sink says so and goes on by itself."""
    sink = start(streams)
    for _ in range(4):
        before = query(database, "SELECT count() FROM batches")[0][0]
        produce(streams, 40)
        wait_until(partial(inserted_since, database, before), SECONDS, "inserts")
        clickhouse.kill()
        produce(streams, 20)
        wait_until(lambda: sink.health()["checks"]["clickhouse"]["status"] == "unavailable", SECONDS, "seen away")
        clickhouse.start()
    wait_equal(streams, database)
    assert sink.alive
    assert sink.health()["status"] == "ok"


def test_server_and_sink_killed_together(
    streams: Streams, database: ClickHouseSettings, clickhouse: RunningClickHouse
) -> None:
    """The range that was being inserted is inserted again exactly, by another process into another server."""
    for point in ("after_pending", "after_insert"):
        assert die(streams, start(streams, point, 2)) == -9
        clickhouse.kill()
        clickhouse.start()
    start(streams)
    wait_equal(streams, database)


def test_two_sinks_share_the_partitions_and_one_is_killed(streams: Streams, database: ClickHouseSettings) -> None:
    """The one that is left replays what the other had named."""
    first = streams.start_sink(WHARF_SINK__SLOT="sink-a", WHARF_SINK__SESSION_TIMEOUT_MS="2000")
    produce(streams, 40)
    second = streams.start_sink(WHARF_SINK__SLOT="sink-b", WHARF_SINK__SESSION_TIMEOUT_MS="2000")
    wait_until(lambda: 0 < partitions(second) < len(TOPICS) * PARTITIONS, SECONDS, "the second has a share")
    produce(streams, 40)
    second.kill()
    produce(streams, 40)
    wait_until(lambda: partitions(first) == len(TOPICS) * PARTITIONS, SECONDS, "the first has all")
    wait_equal(streams, database)


def die(streams: Streams, process: Process) -> int:
    """Its exit code; more is produced as long as it lives."""
    deadline = time.monotonic() + SECONDS
    while True:
        produce(streams, 10)
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            assert time.monotonic() < deadline, process.tail()


def inserted_since(database: ClickHouseSettings, batches: int) -> bool:
    return int(query(database, "SELECT count() FROM batches")[0][0]) > batches


def partitions(process: Process) -> int:
    return int(str(process.health()["checks"]["kafka"]["detail"]).split()[0])


def test_lag_and_rows_are_in_the_metrics(streams: Streams, database: ClickHouseSettings) -> None:
    sink = start(streams)
    produce(streams, 10)
    wait_until(lambda: settled(streams), SECONDS, "the sink is done")
    text = httpx.get(f"{sink.url()}/metrics").text
    assert 'wharf_sink_rows_total{topic="events.message"}' in text
    wait_until(
        lambda: 'wharf_lag_records{partition="0",processor="sink"' in httpx.get(f"{sink.url()}/metrics").text, 10, "lag"
    )
