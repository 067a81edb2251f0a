"""The embedded ClickHouse as a process of its own, with a database per user of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clickhouse_driver.errors import Error

from analytics.client import connect
from analytics.schema.migrate import migrate
from analytics.sink.decode import decode
from analytics.sink.ledger import Range
from analytics.sink.store import Inserted, Store
from compose.stack import ports
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.kafka.registry_client import MemoryRegistry
from core.settings import ClickHouseSettings
from schemas.catalogue import catalogue
from tests.support.waiting import wait_until

READY_SECONDS = 60
CODEC = Codec(MemoryRegistry(), catalogue().by_topic)
ROOT = Path(__file__).parents[2]


class RunningClickHouse:
    """Its address stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random()
        self._folder = folder
        self._port = ports.free_port(rng, set())
        self._http_port = ports.free_port(rng, {self._port})
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, database: str) -> ClickHouseSettings:
        return ClickHouseSettings(port=self._port, http_port=self._http_port, database=database)

    def env(self, database: str) -> dict[str, str]:
        """What a process of ours is told."""
        return {
            "WHARF_CLICKHOUSE__PORT": str(self._port),
            "WHARF_CLICKHOUSE__HTTP_PORT": str(self._http_port),
            "WHARF_CLICKHOUSE__DATABASE": database,
        }

    def start(self, *, wait: bool = True) -> None:
        env = {**os.environ, **self.env("default"), "WHARF_DATA_DIR": str(self._folder)}
        command = [sys.executable, "-m", "analytics.embedded"]
        with (self._folder / "clickhouse.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        if wait:
            wait_until(self._answers, READY_SECONDS, f"ClickHouse answers (log in {self._folder})")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def _answers(self) -> bool:
        try:
            return query(self.settings("default"), "SELECT 1", database="") == [(1,)]
        except (Error, OSError, EOFError):
            return False


def query(
    settings: ClickHouseSettings, sql: str, *, database: str | None = None, **given: Any
) -> list[tuple[Any, ...]]:
    client = connect(settings, database=database)
    try:
        rows: list[tuple[Any, ...]] = client.execute(sql, given or None)
        return rows
    finally:
        client.disconnect()


@contextlib.contextmanager
def running_clickhouse(folder: Path) -> Iterator[RunningClickHouse]:
    server = RunningClickHouse(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def migrated(server: RunningClickHouse, database: str) -> ClickHouseSettings:
    """A database of its own with all tables."""
    settings = server.settings(database)
    migrate(settings)
    return settings


def insert_records(
    settings: ClickHouseSettings, topic: str, records: Sequence[dict[str, Any]], *, first: int = 0, times: int = 2
) -> None:
    """As one batch of partition 0 of the topic; the same batch again changes nothing."""
    taken = [InRecord(topic, 0, first + n, 0, b"a", CODEC.encode(topic, record)) for n, record in enumerate(records)]
    decoded = decode(taken, CODEC)
    store = Store(settings)
    batch = Range(topic, 0, first, first + len(records) - 1)
    for _ in range(times):
        store.insert(batch, decoded.rows)
    store.note([Inserted(batch, len(records), len(decoded.rows), decoded.duplicates, len(decoded.poison))])
    store.close()
