"""Migrations on the embedded server: once, by one at a time, resumed where one died; retention as the settings say."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest

from analytics.client import connect, connected
from analytics.lock import Lock
from analytics.schema import retention
from analytics.schema.engines import Engines
from analytics.schema.migrate import LOCK, migrate, status
from analytics.schema.migrations import migrations
from analytics.sink.rows import LATEST_MS
from core.errors import APIError, SettingsError
from core.settings import ClickHouseSettings
from tests.support.clickhouse import RunningClickHouse, insert_records, query
from tests.support.events import message

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def database(clickhouse: RunningClickHouse) -> Iterator[ClickHouseSettings]:
    settings = clickhouse.settings(f"schema_{secrets.token_hex(4)}")
    yield settings
    query(settings, f"DROP DATABASE IF EXISTS {settings.database}", database="")


def test_migrations_run_once_and_status_says_so(database: ClickHouseSettings) -> None:
    assert [row.applied for row in status(database)] == [False] * len(migrations())
    assert [one.number for one in migrate(database)] == [one.number for one in migrations()]
    assert all(row.applied for row in status(database))
    assert migrate(database) == []


def test_two_migrators_at_once_run_each_migration_once(database: ClickHouseSettings) -> None:
    done: list[int] = []

    def run() -> None:
        done.extend(one.number for one in migrate(database))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [one.number for one in migrations()]
    assert query(database, "SELECT count() FROM schema_versions") == [(len(migrations()),)]


def test_the_lock_is_one_migrators_and_a_dead_ones_is_taken_over(database: ClickHouseSettings) -> None:
    client = connect(database, database="")
    client.execute(f"CREATE DATABASE {database.database}")
    engines = Engines(database.database)
    dead, living = (Lock(client, engines, LOCK, owner) for owner in ("it's dead", "living"))
    dead.take(lambda _held: False)
    with pytest.raises(APIError, match="is running: it's dead"):
        living.take(lambda _held: False)
    held = living.holder()
    assert held is not None
    text = '{"owner":"dead","touched_ms":1}'
    client.execute(f"ALTER TABLE {database.database}.{LOCK.table} COMMENT COLUMN {held.column} '{text}'")
    assert dead.is_mine()
    living.take(lambda _held: False)
    assert (dead.touch(), living.touch()) == (False, True)
    dead.release()
    held = living.holder()
    assert held is not None
    assert held.owner == "living"
    assert (dead.is_mine(), living.is_mine()) == (False, True)
    living.release()
    assert living.holder() is None
    living.take(lambda _held: False)
    living.release()
    client.disconnect()


def test_a_lock_that_an_older_version_left_is_taken_over(database: ClickHouseSettings) -> None:
    query(database, f"CREATE DATABASE {database.database}", database="")
    query(database, f"CREATE TABLE {LOCK.table} (held UInt8) ENGINE = Memory COMMENT 'its owner'")
    assert migrate(database)


def test_a_migration_that_died_half_way_is_finished(database: ClickHouseSettings) -> None:
    migrate(database)
    query(database, "ALTER TABLE schema_versions DELETE WHERE number = 3 SETTINGS mutations_sync = 2")
    query(database, "ALTER TABLE schema_versions DELETE WHERE number = 4 SETTINGS mutations_sync = 2")
    query(database, "DROP TABLE problems_hour_mv")
    assert [one.number for one in migrate(database)] == [3, 4]
    assert query(
        database, "SELECT count() FROM system.tables WHERE name = 'problems_hour_mv' AND database = currentDatabase()"
    ) == [(1,)]


def test_a_database_with_a_changed_migration_is_refused(database: ClickHouseSettings) -> None:
    migrate(database)
    query(database, "ALTER TABLE schema_versions UPDATE digest = 'x' WHERE number = 2 SETTINGS mutations_sync = 2")
    with pytest.raises(SettingsError, match="migration 2"):
        migrate(database)


def test_retention_follows_the_setting(database: ClickHouseSettings) -> None:
    def ttl() -> str:
        return str(
            query(
                database,
                "SELECT create_table_query FROM system.tables WHERE name = 'events' AND database = currentDatabase()",
            )[0][0]
        )

    migrate(database)
    assert "toUnixTimestamp(received_at), 4260407295)) + toIntervalDay(400)" in ttl()
    migrate(database.model_copy(update={"retention_days": 7}))
    assert "toIntervalDay(7)" in ttl()
    migrate(database.model_copy(update={"retention_days": 0}))
    assert "TTL" not in ttl()


DAY_MS = 86_400_000


def test_old_rows_go_and_new_ones_stay_until_their_time(database: ClickHouseSettings) -> None:
    """Raw rows by their receipt, rollups by the hour they stand for; so late that its end cannot be told is late enough."""
    settings = database.model_copy(update={"retention_days": 30, "rollup_retention_days": 60})
    migrate(settings)
    now = int(query(settings, "SELECT toUnixTimestamp64Milli(now64(3))")[0][0])
    # When it happened and when it was received, in days before now; the last ones as late as can be.
    times = [(now - happened * DAY_MS, now - received * DAY_MS) for happened, received in ((90, 31), (90, 29), (59, 1))]
    times.append((LATEST_MS, LATEST_MS))
    records = [
        message("i-0", number, happened, envelope={"received_at": received})
        for number, (happened, received) in enumerate(times)
    ]
    insert_records(settings, "events.message", records)
    for table in ("events", "volume_hour", "contact_events"):
        query(settings, f"OPTIMIZE TABLE {table} FINAL")
    kept = query(settings, "SELECT toUnixTimestamp64Milli(ts), toUnixTimestamp64Milli(received_at) FROM events")
    assert sorted(kept) == sorted(times[1:])
    assert query(settings, "SELECT sum(events) FROM volume_hour") == [(2,)]
    assert query(settings, "SELECT count() FROM contact_events") == [(2,)]


def test_retention_is_changed_only_where_it_differs(database: ClickHouseSettings) -> None:
    migrate(database)
    engines = Engines(database.database)
    shorter = database.model_copy(update={"retention_days": 7, "rollup_retention_days": 700})
    with connected(database) as client:
        assert retention.apply(client, engines, database) == []
        assert set(retention.apply(client, engines, shorter)) == retention.wanted(shorter).keys()
        assert retention.apply(client, engines, shorter) == []
        assert retention.apply(client, engines, database) != []
        assert retention.apply(client, engines, database) == []
