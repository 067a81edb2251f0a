"""Each event is in ClickHouse once, rollups included, though the disk is full or the server dies between two of its writes."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from clickhouse_driver.errors import ServerException

from analytics.sink.decode import decode
from analytics.sink.ledger import Range
from analytics.sink.rows import Row
from analytics.sink.store import Store
from core.errors import DBError
from core.kafka.processor import InRecord
from core.settings import ClickHouseSettings
from tests.support import events as make
from tests.support.clickhouse import CODEC, RunningClickHouse, migrated, query, running_clickhouse
from tests.support.kafka import RunningKafka
from tests.support.sink import SECONDS, produce, wait_equal
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.streams import running_streams
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disk") / "data", 256) as found:
        yield found


@pytest.fixture(scope="module")
def server(disk: SmallDisk) -> Iterator[RunningClickHouse]:
    with running_clickhouse(disk.folder) as running:
        yield running


def test_the_sink_keeps_its_batch_while_the_disk_is_full(
    kafka: RunningKafka, disk: SmallDisk, server: RunningClickHouse, tmp_path: Path
) -> None:
    """It says so, goes on by itself when there is room, and what readers ask is answered all the while."""
    name = f"full_{secrets.token_hex(4)}"
    database = migrated(server, name)
    env = {**server.env(name), "WHARF_SINK__BATCH_RECORDS": "20", "WHARF_SINK__BATCH_MS": "100"}
    with running_streams(kafka, f"{name}.", tmp_path, **env) as streams:
        sink = streams.start_sink()
        produce(streams, 30)
        disk.fill()
        produce(streams, 30)

        def told() -> bool:
            check = sink.health()["checks"]["clickhouse"]
            return check["status"] == "unavailable" and "No space left" in str(check["detail"])

        wait_until(told, SECONDS, "the sink says what is wrong")
        wait_until(lambda: ", 0 records behind" not in sink.health()["checks"]["kafka"]["detail"], SECONDS, "lag")
        rows = query(database, "SELECT count() FROM batches")
        answer = httpx.post(f"http://127.0.0.1:{database.http_port}", content="SELECT 1 FORMAT JSON")
        assert "No space left" in answer.text, "what is made at once needs room"
        assert query(database, "SELECT count() FROM batches") == rows
        disk.empty()
        wait_equal(streams, database)
        assert sink.alive
        assert sink.health()["status"] == "ok"


Batch = tuple[Range, list[Row]]


class Batches:
    """Batches of messages, and the log that they stand in."""

    def __init__(self, database: ClickHouseSettings) -> None:
        self.database = database
        self.log: list[make.Event] = []
        self._store = Store(database)
        self._number = 0

    def next(self) -> Batch:
        first, self._number = self._number, self._number + 100
        numbers = range(first, first + 100)
        records = [make.message(f"i-{n % 3}", n, make.BASE_MS + n * 977, direction="out") for n in numbers]
        values = [CODEC.encode("events.message", record) for record in records]
        taken = [InRecord("events.message", 0, n, 0, b"i", value) for n, value in zip(numbers, values, strict=True)]
        self.log += [make.identity("events.message", 0, record) for record in records]
        return Range("events.message", 0, first, first + 99), decode(taken, CODEC).rows

    def insert(self, batch: Batch) -> None:
        """As often as it takes."""

        def inserted() -> bool:
            try:
                self._store.insert(*batch)
            except DBError:
                return False
            return True

        wait_until(inserted, 60, "the batch is inserted")

    def fails(self, batch: Batch, why: str) -> None:
        with pytest.raises(DBError, match=why):
            self._store.insert(*batch)

    def close(self) -> None:
        self._store.close()

    def differences(self) -> list[str]:
        return make.differences(self.log, self.database)


@pytest.fixture
def batches(server: RunningClickHouse) -> Iterator[Batches]:
    made = Batches(migrated(server, f"disk_{secrets.token_hex(4)}"))
    made.insert(made.next())
    yield made
    made.close()


def newest_parts(folder: Path) -> list[Path]:
    """Of each table that knows tokens, the part of its newest one."""
    logs = folder.glob("clickhouse/data/store/*/*/deduplication_logs/deduplication_log_1.txt")
    entries = [(log.parents[1], log.read_text().splitlines()) for log in logs]
    return [table / lines[-1].split("\t")[1] for table, lines in entries if lines]


def test_killed_between_a_token_and_its_rows_a_table_takes_them_again(
    server: RunningClickHouse, disk: SmallDisk, batches: Batches
) -> None:
    """As such a kill leaves it: the token is written, the rows have not got their place. All tables at once."""
    before, batch = set(newest_parts(disk.folder)), batches.next()
    batches.insert(batch)
    server.kill()
    parts = set(newest_parts(disk.folder)) - before
    assert len(parts) >= 6
    for part in parts:
        part.rename(part.with_name(f"tmp_insert_{part.name}"))
    server.start()
    batches.insert(batch)
    assert batches.differences() == []


@contextmanager
def refused(server: RunningClickHouse, *expressions: str) -> Iterator[None]:
    """The server's system calls fail as on a full disk, as strace's expressions say."""
    if shutil.which("strace") is None:
        pytest.skip("apt gives no strace here")
    command = ["strace", "-f", "-o", "/dev/null", "-p", str(server.pid), *expressions]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
        assert tracing.stderr is not None
        said = tracing.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace cannot be used here: {said.strip()}")
        # The rest of what it says must not fill the pipe.
        threading.Thread(target=tracing.stderr.read, daemon=True).start()
        try:
            yield
        finally:
            tracing.send_signal(signal.SIGTERM)
            tracing.wait()


@pytest.mark.parametrize("nth", [1, 4])
def test_a_part_that_gets_no_place_is_inserted_again(server: RunningClickHouse, batches: Batches, nth: int) -> None:
    """The first is the raw table's, the others are the rollups'."""
    batch = batches.next()
    with refused(server, "-e", "trace=rename", "-e", f"inject=rename:error=ENOSPC:when={nth}"):
        batches.fails(batch, "No space left")
    batches.insert(batch)
    assert batches.differences() == []


def test_a_write_that_the_disk_refuses_is_not_acknowledged(
    server: RunningClickHouse, batches: Batches, disk: SmallDisk
) -> None:
    """The engine itself takes such a part for whole: a file of it is empty."""
    of_events = "SELECT uuid FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
    [[table]] = query(batches.database, of_events)
    [folder] = disk.folder.glob(f"clickhouse/data/store/*/{table}")
    for name in ("data.cmrk4", "columns.txt"):
        # The number of the part is one of these.
        paths = [f"{folder}/tmp_insert_202603_{number}_{number}_1/{name}" for number in range(10)]
        options = [word for path in paths for word in ("-P", path)]
        batch = batches.next()
        with refused(server, *options, "-e", "trace=write", "-e", "inject=write:error=ENOSPC"):
            batches.fails(batch, "took only some of the rows")
        batches.insert(batch)
    assert batches.differences() == []
    server.kill()
    server.start()
    assert batches.differences() == []


def test_what_needs_room_is_refused_by_name(server: RunningClickHouse, disk: SmallDisk) -> None:
    settings = server.settings("default")
    query(settings, "CREATE TABLE IF NOT EXISTS room (a UInt8) ENGINE = MergeTree ORDER BY a", database="")
    disk.fill()
    try:
        for sql in (
            "INSERT INTO room SELECT 1",
            "INSERT INTO room VALUES (1)",
            "CREATE TABLE more (a UInt8) ENGINE = Log",
        ):
            with pytest.raises(ServerException, match="MiB are not used: make room") as caught:
                query(settings, sql, database="")
            assert caught.value.code == 243
        assert query(settings, "SELECT count() FROM room", database="") == [(0,)]
        query(settings, "DROP TABLE room SYNC", database="")
    finally:
        disk.empty()
