"""What every ClickHouse server that wharf is pointed at must do: ours, Debian's 18.16 as far as that goes, CLICKHOUSE_URL."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from tests.support import clickhouse_servers as clickhouse
from tests.support.clickhouse_servers import Server

pytestmark = pytest.mark.timeout(180)
NOON = dt.datetime(2026, 1, 2, 12, 4, 5, 678000, tzinfo=dt.UTC)
# Column, type, two values; those that 18.16 knows first.
OLD_TYPES: list[tuple[str, str, Any, Any]] = [
    ("u8", "UInt8", 0, 255),
    ("u64", "UInt64", 0, 2**64 - 1),
    ("i64", "Int64", -(2**63), 5),
    ("f64", "Float64", 1.5, -0.25),
    ("s", "String", "", "héllo 😀" * 40),
    ("fs", "FixedString(4)", "abcd", "efgh"),
    ("d", "Date", dt.date(2026, 1, 2), dt.date(1970, 1, 1)),
    ("t", "DateTime", NOON.replace(microsecond=0, tzinfo=None), NOON.replace(year=2100, microsecond=0, tzinfo=None)),
    ("e", "Enum8('in' = 1, 'out' = 2)", "in", "out"),
    ("uu", "UUID", uuid.UUID(int=1), uuid.UUID(int=2**127 + 5)),
    ("ns", "Nullable(String)", None, "x"),
    ("a", "Array(String)", [], ["a", "b" * 200]),
    ("aa", "Array(Array(UInt32))", [[1, 2], []], []),
    ("an", "Array(Nullable(String))", [None, "x"], []),
    ("tu", "Tuple(String, UInt8)", ("z", 3), ("", 0)),
    ("de", "Decimal(18, 4)", Decimal("12.3400"), Decimal("-0.0001")),
]
NEW_TYPES: list[tuple[str, str, Any, Any]] = [
    ("b", "Bool", True, False),
    ("t64", "DateTime64(3, 'UTC')", NOON, NOON.replace(year=2100)),
    ("lc", "LowCardinality(String)", "text", "image"),
    ("lcn", "LowCardinality(Nullable(String))", None, "q"),
    ("al", "Array(LowCardinality(String))", ["p", "q"], []),
    ("m", "Map(String, String)", {"k": "v"}, {}),
    ("ml", "Map(LowCardinality(String), String)", {"k": "v"}, {}),
    ("ip4", "IPv4", IPv4Address("1.2.3.4"), IPv4Address("0.0.0.0")),
    ("ip6", "IPv6", IPv6Address("::1"), IPv6Address("2001:db8::2")),
    ("u256", "UInt256", 2**200, 0),
    ("saf", "SimpleAggregateFunction(sum, UInt64)", 5, 6),
]


@pytest.fixture(scope="module", params=["embedded", "debian", "given"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(f"clickhouse-{request.param}")
    if request.param == "given":
        if not (url := os.environ.get("CLICKHOUSE_URL")):
            pytest.skip("CLICKHOUSE_URL (clickhouse://user:password@host:port) is not set")
        parts = urlsplit(url)
        user, password = unquote(parts.username or "default"), unquote(parts.password or "")
        yield Server("given", parts.port or 9000, parts.hostname or "127.0.0.1", user, password)
    elif request.param == "debian":
        if shutil.which("clickhouse-server") is None:
            pytest.skip("apt gives no clickhouse-server here")
        with clickhouse.debian(folder) as old:
            yield old
    else:
        with clickhouse.embedded(folder) as running:
            yield running.server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = server.client()
    yield made
    made.disconnect()


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    """A name of its own, gone afterwards."""
    name = f"t_{secrets.token_hex(6)}"
    yield name
    server.execute(f"DROP TABLE IF EXISTS {name}")


def fails(client: Client, code: int, sql: str, *arguments: Any, **more: Any) -> str:
    with pytest.raises(ServerException) as caught:
        client.execute(sql, *arguments, **more)
    assert caught.value.code == code, caught.value
    assert client.execute("SELECT 1") == [(1,)], "the connection goes on"
    return str(caught.value.message)


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "lz4"])
def test_all_types_come_back_as_they_were_sent(server: Server, table: str, compression: bool) -> None:
    kinds = OLD_TYPES if server.is_old else OLD_TYPES + NEW_TYPES
    columns = ", ".join(f"{name} {kind}" for name, kind, _, _ in kinds)
    with server.client(compression=compression) as client:
        client.execute(f"CREATE TABLE {table} (id UInt32, {columns}) ENGINE = MergeTree ORDER BY id")
        rows = [(number, *(kind[2 + number % 2] for kind in kinds)) for number in range(3_000)]
        # In blocks of 700, so that there are several and one that is not full.
        assert client.execute(f"INSERT INTO {table} VALUES", rows, settings={"insert_block_size": 700}) == 3_000
        assert client.execute(f"SELECT * FROM {table} ORDER BY id") == rows
        names = ", ".join(name for name, *_ in kinds[:3])
        assert (
            client.execute(f"INSERT INTO {table} (id, {names}) VALUES", [(9_999, *(kind[2] for kind in kinds[:3]))])
            == 1
        )
        assert client.execute(f"SELECT count() FROM {table}") == [(3_001,)]


def test_columns_without_rows_keep_their_types(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt64, b Nullable(String)) ENGINE = Memory")
    expected: Any = ([], [("a", "UInt64"), ("b", "Nullable(String)")])
    assert client.execute(f"SELECT a, b FROM {table}", with_column_types=True) == expected
    assert client.execute(f"INSERT INTO {table} VALUES", []) == 0


def test_a_large_result_comes_in_blocks_and_tells_its_progress(client: Client) -> None:
    progress = client.execute_with_progress("SELECT sum(number) FROM numbers(5000000)")
    told = list(progress)
    assert progress.get_result() == [(12499997500000,)]
    assert told[-1][0] >= 5_000_000
    assert (
        sum(1 for _ in client.execute_iter("SELECT number FROM numbers(300000)", {"max_block_size": 1_000})) == 300_000
    )


def test_a_long_query_that_finds_nothing_tells_its_progress_and_leaves_the_connection_usable(client: Client) -> None:
    progress = client.execute_with_progress("SELECT number FROM numbers(200000000) WHERE sipHash64(number) = 1")
    assert len(list(progress)) > 1
    assert progress.get_result() == []
    assert client.execute("SELECT 1") == [(1,)]


def test_a_setting_lasts_for_its_query(client: Client) -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    [[before]] = client.execute(sql)
    assert client.execute(sql, settings={"max_block_size": 1234}) == [("1234",)]
    assert client.execute(sql) == [(before,)]


def test_failures_have_their_codes_and_leave_the_connection_usable(client: Client, server: Server) -> None:
    fails(client, 62, "SELEC 1")
    fails(client, 60, "SELECT * FROM no_such_table")
    fails(client, 60, "INSERT INTO no_such_table (a) VALUES", [(1,)])
    if not server.is_old:
        fails(client, 115, "SELECT 1", settings={"no_such_setting": 1})


def test_a_failure_in_the_middle_of_a_result_is_told(client: Client) -> None:
    fails(client, 395, "SELECT throwIf(number = 200000) FROM numbers(300000)", settings={"max_threads": 1})


def test_a_failure_in_the_middle_of_an_insert_is_told(client: Client, server: Server, table: str) -> None:
    if server.is_old:
        pytest.skip("18.16 has no constraints")
    client.execute(f"CREATE TABLE {table} (a UInt32, CONSTRAINT c CHECK a < 5000) ENGINE = MergeTree ORDER BY a")
    fails(client, 469, f"INSERT INTO {table} VALUES", [(n,) for n in range(9_000)], settings={"insert_block_size": 500})


def test_a_wrong_password_is_refused(server: Server) -> None:
    with server.client(password="wrong") as client, pytest.raises(ServerException) as caught:
        client.execute("SELECT 1")
    assert caught.value.code == (193 if server.is_old else 516)


def test_a_cancelled_query_ends_and_the_server_goes_on(server: Server) -> None:
    with server.client() as asking:
        rows = asking.execute_iter("SELECT number FROM numbers(100000000000)")
        assert next(rows) == (0,)
        asking.cancel()
    assert server.execute("SELECT 1") == [(1,)]


def test_many_clients_at_once(server: Server, table: str) -> None:
    server.execute(f"CREATE TABLE {table} (c UInt8, n UInt32) ENGINE = MergeTree ORDER BY (c, n)")
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            with server.client() as own:
                for start in range(0, 5_000, 1_000):
                    own.execute(f"INSERT INTO {table} VALUES", [(number, n) for n in range(start, start + 1_000)])
                    assert own.execute(f"SELECT count() FROM {table} WHERE c = {number}") == [(start + 1_000,)]
        except Exception as error:  # noqa: BLE001 - told below, in the thread that tests
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert server.execute(f"SELECT count(), uniqExact(c, n) FROM {table}") == [(60_000, 60_000)]


def test_statements_of_all_kinds(client: Client, server: Server, table: str) -> None:
    if server.is_old:
        pytest.skip("18.16 waits for blocks behind an INSERT that has its rows in its text")
    client.execute(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    client.execute(f"INSERT INTO {table} VALUES (1, 'it''s'), (2, 'VALUES (')")
    client.execute(f"INSERT INTO {table} VALUES (3, 'a\n\nb'), (4, 'c');")
    assert client.execute(f"SELECT s FROM {table} WHERE a = 3") == [("a\n\nb",)]
    client.execute(f"INSERT INTO {table} SELECT number + 10, 'x' FROM numbers(5)")
    assert client.execute(f"/* SELECT */ SELECT s FROM {table} WHERE a = 1 FORMAT JSON") == [("it's",)]
    assert (table,) in client.execute("SHOW TABLES")
    assert [row[0] for row in client.execute(f"DESCRIBE TABLE {table}")] == ["a", "s"]
    client.execute(
        f"ALTER TABLE {table} DELETE WHERE a >= 10"
    ) if client.connection.server_info.version_major > 19 else None
    external = [{"name": "given", "structure": [("x", "Int32")], "data": [{"x": 1}, {"x": 2}]}]
    assert client.execute("SELECT sum(x) FROM given", external_tables=external) == [(3,)]
    client.execute(f"TRUNCATE TABLE {table}")
    assert client.execute(f"SELECT count() FROM {table}") == [(0,)]


def test_the_same_token_inserts_once(client: Client, server: Server, table: str) -> None:
    if server.is_old:
        pytest.skip("18.16 has no tokens")
    client.execute(
        f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a"
        " SETTINGS non_replicated_deduplication_window = 1000"
    )
    for token in ("topic-0-0-1", "topic-0-0-1", "topic-0-2-3"):
        settings = {"insert_deduplication_token": token, "async_insert": 0}
        client.execute(f"INSERT INTO {table} VALUES", [(1,), (2,)], settings=settings)
    assert client.execute(f"SELECT count() FROM {table}") == [(4,)]


def command_line(server: Server, sql: str, data: str = "") -> str:
    """Debian's clickhouse-client. Its exit code is not looked at: 18.16 may abort behind its output when it ends."""
    if shutil.which("clickhouse-client") is None:
        pytest.skip("apt gives no clickhouse-client here")
    command = ["clickhouse-client", "--host", server.host, "--port", str(server.port), "--user", server.user]
    command += ["--password", server.password] if server.password else []
    done = subprocess.run(
        [*command, "--max_threads", "1", "-q", sql], input=data, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Exception" not in done.stderr, done.stderr
    return done.stdout


def test_debians_client_reads_and_writes(server: Server, client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32, s Nullable(String), l Array(UInt8)) ENGINE = MergeTree ORDER BY a")
    command_line(server, f"INSERT INTO {table} FORMAT TSV", "1\tx\t[1,2]\n2\t\\N\t[]\n")
    assert client.execute(f"SELECT * FROM {table} ORDER BY a") == [(1, "x", [1, 2]), (2, None, [])]
    assert command_line(server, f"SELECT * FROM {table} ORDER BY a") == "1\tx\t[1,2]\n2\t\\N\t[]\n"
    assert command_line(server, f"SELECT a FROM {table} WHERE 0") == ""
