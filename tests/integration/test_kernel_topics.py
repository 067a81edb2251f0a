"""The topic table against a real cluster, and the independent reader."""

from __future__ import annotations

import pytest

from core.errors import APIError, SettingsError
from core.kafka import topic_admin
from core.kafka.dump import Beginning, End, Offset, Start, Time, dump
from core.kafka.table import Table
from core.kafka.topic_admin import Change
from core.settings import KafkaSettings, Settings
from core.topics import TOPICS, Retention, Topic
from tests.integration.kernel_support import Bench
from tests.support.kafka import RunningKafka


def settings_of(kafka: RunningKafka, prefix: str, partitions: int) -> Settings:
    return Settings(kafka=KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix, partitions=partitions, external=True))


def own(changes: list[Change], prefix: str) -> list[Change]:
    return [change for change in changes if change.topic.startswith(prefix)]


def test_apply_makes_corrects_and_then_has_nothing_to_do(kafka: RunningKafka, prefix: str) -> None:
    settings = settings_of(kafka, prefix, 3)
    assert {change.kind for change in own(topic_admin.plan(settings), prefix)} == {"create"}
    topic_admin.apply(settings)
    assert topic_admin.plan(settings) == []
    assert topic_admin.check(settings) == 3
    longer = Topic("results", "wharf.CommandResult", Retention.DELETE, 1_000_000)
    changed = [longer if topic.name == "results" else topic for topic in TOPICS]
    (change,) = topic_admin.plan(settings, changed)
    assert (change.kind, change.topic, change.config) == ("alter", prefix + "results", (("retention.ms", "1000000"),))
    topic_admin.apply(settings, changed)
    assert topic_admin.plan(settings, changed) == []


def test_a_partition_count_is_never_changed(kafka: RunningKafka, prefix: str) -> None:
    prefix += "count."
    topic_admin.apply(settings_of(kafka, prefix, 2))
    wrong = settings_of(kafka, prefix, 4)
    assert {change.kind for change in own(topic_admin.plan(wrong), prefix)} == {"partitions"}
    with pytest.raises(SettingsError, match="has 2 partitions, the settings say 4"):
        topic_admin.apply(wrong)
    assert topic_admin.check(wrong) == 2


def test_missing_topics_stop_the_start(kafka: RunningKafka, prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"not in the cluster: {prefix}none"):
        topic_admin.copartitioned(Bench(kafka.bootstrap, 1, prefix).clients, ["none"])


@pytest.fixture(scope="module")
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics()
    bench.produce("in", [f"m{number}" for number in range(10)])
    return bench


@pytest.mark.parametrize(
    ("start", "expected"), [(None, 10), (Beginning(), 10), (Offset(3), 4), (Offset(99), 0), (End(), 0)]
)
def test_dump_from_anywhere_to_the_end(bench: Bench, start: Start | None, expected: int) -> None:
    assert len(list(dump(bench.clients, ["in"], start=start))) == expected


def test_dump_from_a_time(bench: Bench) -> None:
    records = list(dump(bench.clients, ["in"]))
    newest = max(record.timestamp_ms for record in records)
    assert list(dump(bench.clients, ["in"], start=Time(newest + 1))) == []
    assert len(list(dump(bench.clients, ["in"], start=Time(0)))) == 10


def test_dump_follows_until_told(bench: Bench) -> None:
    seen: list[bytes | None] = []
    reader = dump(bench.clients, ["side"], follow=True, until=lambda: len(seen) >= 4)
    bench.produce("side", ["a", "b"])
    seen += [next(reader).value, next(reader).value]
    bench.produce("side", ["c", "d"])
    seen += [next(reader).value, next(reader).value]
    assert sorted(value or b"" for value in seen) == [b"a", b"b", b"c", b"d"]
    assert list(reader) == []


def test_dump_names_a_topic_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(APIError, match=r"no such topic: .*nowhere"):
        list(dump(bench.clients, ["nowhere"]))


def test_a_table_holds_the_newest_values(bench: Bench) -> None:
    producer = bench.clients.producer()
    for key, value in [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None), (b"c", b"4")]:
        producer.produce(bench.prefix + "tab", value, key)
    assert producer.flush(10) == 0
    assert Table(bench.clients, bench.prefix + "tab", "test").load() == {b"a": b"3", b"c": b"4"}
