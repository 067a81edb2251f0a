"""Each event is in ClickHouse once, whatever dies: the sink at each step of its ledger, the server during inserts."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from analytics.sink.group import standings
from analytics.sink.positions import Positions, Start
from analytics.sink.rows import TOPICS
from analytics.sink.sink import GROUP
from core.settings import ClickHouseSettings
from tests.support.clickhouse import RunningClickHouse, migrated, query
from tests.support.events import BASE_MS, message
from tests.support.kafka import RunningKafka
from tests.support.sink import SECONDS, produce, settled, wait_equal
from tests.support.streams import PARTITIONS, Process, Streams, running_streams
from tests.support.waiting import wait_until

POINTS = ("before_pending", "after_pending", "after_insert", "before_done", "after_done")
SMALL = {"WHARF_SINK__BATCH_RECORDS": "20", "WHARF_SINK__BATCH_MS": "100"}
pytestmark = pytest.mark.timeout(900)


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


def test_no_member_asks_for_positions_inside_its_own_callback(streams: Streams) -> None:
    """It would end the process when its client has something to log afterwards, as when a group's session timed out."""
    prefix = streams.settings.kafka.prefix
    positions = Positions(streams.clients, "nobody", cast(Consumer, object()), prefix)
    assert positions.starts([TopicPartition(f"{prefix}results", 0)]) == {("results", 0): Start(0)}


def in_transaction(streams: Streams, count: int) -> None:
    """Records of one partition, and the marker of their commit."""
    producer = streams.clients.transactional_producer(f"tests-{secrets.token_hex(4)}")
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(count):
        record = message("i-0", number, BASE_MS + number, direction="out")
        value = streams.codec.encode("events.message", record)
        producer.produce(streams.settings.kafka.prefix + "events.message", value, b"i-0", partition=0)
    producer.commit_transaction(30)


def drop_log(streams: Streams) -> None:
    """Everything of the partition, as retention does once it has been silent for long."""
    where = TopicPartition(streams.settings.kafka.prefix + "events.message", 0, OFFSET_END)
    # Named: its futures end with it.
    admin = streams.clients.admin()
    admin.delete_records([where])[where].result(30)


def gone(sink: Process) -> list[int]:
    return [line["records"] for line in sink.lines() if line["event"] == "records_gone"]


def position(streams: Streams) -> int:
    return standings(streams.clients, GROUP, ["events.message"])["events.message", 0].position


def test_only_records_that_were_removed_unread_are_told_as_gone(streams: Streams) -> None:
    in_transaction(streams, 3)
    sink = start(streams)
    wait_until(lambda: position(streams) >= 3, SECONDS, "all are stored")
    sink.stop()
    assert position(streams) == 4
    drop_log(streams)
    sink = start(streams)
    wait_until(lambda: sink.health()["status"] == "ok", SECONDS, "it has its partitions")
    assert gone(sink) == []
    sink.stop()
    in_transaction(streams, 5)
    drop_log(streams)
    sink = start(streams)
    wait_until(lambda: gone(sink), SECONDS, "the loss is told")
    # With the marker of their commit.
    assert gone(sink) == [6]


def test_a_sink_that_is_killed_has_committed_the_end_before(streams: Streams) -> None:
    in_transaction(streams, 3)
    sink = start(streams)
    wait_until(lambda: position(streams) == 4, SECONDS, "the position is behind the marker")
    sink.kill()


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
