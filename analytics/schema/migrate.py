"""Bring a database up to date: `migrate`, and `status` that changes nothing."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.client import UNKNOWN_DATABASE, UNKNOWN_TABLE, connected
from analytics.lock import Held, Kind, Lock
from analytics.schema import retention
from analytics.schema.engines import Engines
from analytics.schema.migrations import Applied, Migration, migrations, missing
from core.settings import ClickHouseSettings

_WAIT_SECONDS = 90.0
_PAUSE_SECONDS = 0.2
_VERSIONS = "schema_versions"
# Touched before each statement; statements may run twice (IF NOT EXISTS), so that even a holder that was only slow does no harm.
LOCK = Kind("migration_lock", "migration", stale_ms=60_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `wharf clickhouse status`."""

    number: int
    name: str
    applied: bool


def status(settings: ClickHouseSettings) -> list[Row]:
    with connected(settings, database="") as client:
        applied = _applied(client, settings)
    missing(applied, migrations())
    return [Row(one.number, one.name, one.number in applied) for one in migrations()]


def migrate(settings: ClickHouseSettings, tell: Callable[[str], None] = lambda _text: None) -> list[Migration]:
    """Run what is missing, one migrator at a time, and set the retention; what was run."""
    engines = Engines(settings.database, settings.cluster)
    with connected(settings, database="") as client:
        client.execute(f"CREATE DATABASE IF NOT EXISTS {settings.database} {engines.on_cluster}")
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        lock = Lock(client, engines, LOCK, owner)
        lock.take(_patience())
        try:
            return _run(client, lock, engines, settings, tell)
        finally:
            lock.release()


def _run(
    client: Client, lock: Lock, engines: Engines, settings: ClickHouseSettings, tell: Callable[[str], None]
) -> list[Migration]:
    _versions_table(client, engines)
    done = []
    for one in missing(_applied(client, settings), migrations()):
        for statement in engines.statements(one.text):
            _alive(lock)
            client.execute(statement)
        row = {"number": one.number, "name": one.name, "digest": one.digest}
        client.execute(f"INSERT INTO {settings.database}.{_VERSIONS} (number, name, digest) VALUES", [row])
        tell(f"{one.number:04d} {one.name}")
        done.append(one)
    _alive(lock)
    for table in retention.apply(client, engines, settings):
        tell(f"retention of {table}")
    return done


def _alive(lock: Lock) -> None:
    if not lock.touch():
        raise lock.taken_over()


def _versions_table(client: Client, engines: Engines) -> None:
    client.execute(
        f"CREATE TABLE IF NOT EXISTS {engines.database}.{_VERSIONS} {engines.on_cluster} "
        "(number UInt32, name String, digest String, applied_at DateTime DEFAULT now()) "
        f"ENGINE = {engines.on_every_server('MergeTree', _VERSIONS)} ORDER BY number COMMENT 'Migrations that were run.'"
    )


def _applied(client: Client, settings: ClickHouseSettings) -> dict[int, Applied]:
    try:
        rows = client.execute(f"SELECT number, name, digest FROM {settings.database}.{_VERSIONS} ORDER BY number")
    except ServerException as cause:
        if cause.code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
            return {}
        raise
    return {int(number): Applied(int(number), str(name), str(digest)) for number, name, digest in rows}


def _patience() -> Callable[[Held], bool]:
    deadline = time.monotonic() + _WAIT_SECONDS

    def wait(_held: Held) -> bool:
        time.sleep(_PAUSE_SECONDS)
        return time.monotonic() < deadline

    return wait
