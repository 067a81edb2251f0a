"""Migrations and engines as text."""

from __future__ import annotations

import re

import pytest

from analytics.lock import Held
from analytics.schema import retention
from analytics.schema.engines import Engines
from analytics.schema.migrations import Applied, Migration, migrations, missing
from core.errors import SettingsError
from core.settings import ClickHouseSettings

SINGLE = [s for one in migrations() for s in Engines("db").statements(one.text)]
CLUSTER = [s for one in migrations() for s in Engines("db", "prod").statements(one.text)]


def test_single_node_has_plain_engines_and_no_cluster() -> None:
    for statement in SINGLE:
        assert statement.startswith("CREATE "), statement
        assert not re.search(r"CLUSTER|Replicated|Distributed|_local|\{", statement), statement
    assert sum("ENGINE = ReplacingMergeTree" in s for s in SINGLE) == 4
    # A repeated batch is known by its token in every table that rows or rollups go to.
    targets = [s for s in SINGLE if s.startswith("CREATE TABLE") and ".batches" not in s]
    assert all("non_replicated_deduplication_window = 10000" in s for s in targets)


def test_cluster_has_replicated_tables_with_a_distributed_one_over_each() -> None:
    local = [s for s in CLUSTER if s.startswith("CREATE TABLE") and "Distributed(" not in s]
    over = [s for s in CLUSTER if "Distributed(" in s]
    assert len(local) == len(over) == sum(s.startswith("CREATE TABLE") for s in SINGLE)
    for statement in CLUSTER:
        assert "ON CLUSTER 'prod'" in statement, statement
    for statement in local:
        name = re.search(r"db\.(\w+)_local", statement)
        assert name is not None
        assert f"MergeTree('/clickhouse/tables/{{shard}}/db/{name[1]}', '{{replica}}')" in statement
        assert "non_replicated" not in statement
        assert any(
            f"CREATE TABLE IF NOT EXISTS db.{name[1]} ON CLUSTER 'prod' AS db.{name[1]}_local" in s for s in over
        )


def test_on_a_cluster_rollups_are_fed_beside_the_rows_and_views_read_all_shards() -> None:
    for statement in CLUSTER:
        if statement.startswith("CREATE MATERIALIZED VIEW"):
            assert re.search(r" TO db\.\w+_local AS", statement), statement
            assert "FROM db.events_local" in statement
        elif statement.startswith("CREATE VIEW"):
            assert "_local" not in statement


def test_a_table_on_every_server_is_one_of_its_database_with_a_replica_for_each() -> None:
    assert Engines("db").on_every_server("MergeTree", "versions") == "MergeTree"
    text = Engines("db", "prod").on_every_server("MergeTree", "versions")
    assert text == "ReplicatedMergeTree('/clickhouse/tables/all/db/versions', '{shard}-{replica}')"


def test_what_a_database_lacks_is_run_and_nothing_else() -> None:
    known = (Migration(1, "a", "x"), Migration(2, "b", "y"))
    first = Applied(1, "a", known[0].digest)
    assert missing({}, known) == list(known)
    assert missing({1: first}, known) == [known[1]]
    assert missing({1: first, 2: Applied(2, "b", known[1].digest)}, known) == []


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({1: Applied(1, "a", "other")}, "is not the one that was run"),
        ({2: Applied(2, "b", "y")}, "is missing in the database"),
        ({3: Applied(3, "c", "z")}, "this program knows 2"),
    ],
)
def test_a_database_of_another_history_is_refused(there: dict[int, Applied], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        missing(there, (Migration(1, "a", "x"), Migration(2, "b", "y")))


def test_a_lock_is_stale_only_when_it_was_not_touched_for_long() -> None:
    held = Held("me", 1_000, "held_1")
    assert not held.is_stale(61_000, 60_000)
    assert held.is_stale(61_001, 60_000)


def test_retention_counts_events_from_their_receipt_and_keeps_rollups_by_default() -> None:
    wanted = retention.wanted(ClickHouseSettings(retention_days=30))
    assert wanted.pop("events") == "toDateTime(least(toUnixTimestamp(received_at), 4292375295)) + toIntervalDay(30)"
    assert wanted.pop("batches") == "toDateTime(least(toUnixTimestamp(ingested_at), 4292375295)) + toIntervalDay(30)"
    assert set(wanted.values()) == {""}
    of_hours = retention.wanted(ClickHouseSettings(rollup_retention_days=9))["volume_hour"]
    assert of_hours == "toDateTime(least(toUnixTimestamp(hour), 4294189695)) + toIntervalDay(9)"


def test_retention_is_read_from_what_clickhouse_says() -> None:
    text = "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a TTL toDateTime(a) + toIntervalDay(3) SETTINGS x = 1 COMMENT 'c'"
    assert retention.present(text) == "toDateTime(a) + toIntervalDay(3)"
    assert retention.present("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS x = 1") == ""
