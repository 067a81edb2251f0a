"""What the embedded ClickHouse promises beyond any server's contract: users, HTTP, ends and restarts, nothing half done."""

from __future__ import annotations

import io
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_driver.errors import Error, ServerException

from analytics.queries.export import export
from analytics.queries.run import run
from core.errors import APIError
from core.settings import ClickHouseSettings
from tests.support import clickhouse_servers as clickhouse
from tests.support.clickhouse_servers import Embedded
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
LIMITS = {"reader_max_seconds": "2", "reader_max_memory_bytes": str(100 << 20), "reader_max_result_rows": "1000"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with clickhouse.embedded(tmp_path_factory.mktemp("embedded"), None, max_connections="20", **LIMITS) as server:
        server.server.execute("CREATE TABLE wharf.kept (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
        server.server.execute("INSERT INTO wharf.kept VALUES", [(n, f"s{n}") for n in range(100)])
        yield server


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT count() FROM numbers(900000000) WHERE cityHash64(toString(number)) = 1", 159),
        ("SELECT count() FROM numbers(100000000000)", 158),
        ("SELECT groupArray(number) FROM numbers(100000000)", 241),
        ("SELECT number FROM numbers(5000)", 396),
        ("SELECT 1 SETTINGS max_execution_time = 0", 164),
        ("SELECT 1 SETTINGS readonly = 0", 164),
        ("SET max_execution_time = 0", 164),
        ("INSERT INTO wharf.kept VALUES (1, 'x')", 164),
        ("WITH 5 AS a INSERT INTO wharf.kept SELECT a, 'x'", 164),
        ("DROP TABLE wharf.kept", 164),
        ("CREATE TEMPORARY TABLE x (a UInt8)", 164),
        ("KILL QUERY WHERE 1", 164),
        ("SELECT file('/etc/passwd')", 164),
        ("SELECT * FROM sqlite('x', 'y')", 164),
    ],
)
def test_a_reader_reads_within_limits_and_changes_nothing(running: Embedded, sql: str, code: int) -> None:
    with running.server.client(user="reader") as reader:
        with pytest.raises(ServerException) as caught:
            reader.execute(sql, settings={"max_execution_time": 3600})
        assert caught.value.code == code
        assert reader.execute("SELECT count() FROM wharf.kept") == [(100,)]
        reader.execute("USE wharf")
        assert reader.execute("SELECT max(a) FROM kept") == [(99,)]
    answer = httpx.post(running.url, content=sql)
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code), answer.text


@pytest.mark.parametrize(
    ("sql", "most", "setting"),
    [
        ("SELECT count() FROM numbers(900000000) WHERE cityHash64(toString(number)) = 1", "2 s", "seconds"),
        ("SELECT count() FROM numbers(100000000000)", "1,000,000,000 rows", "rows_to_read"),
        ("SELECT groupArray(number) FROM numbers(100000000)", "100 MiB", "memory_bytes"),
        ("SELECT number FROM numbers(5000)", "1,000 rows", "result_rows"),
    ],
)
def test_a_limit_is_told_in_a_line_with_its_value_and_setting(
    running: Embedded, sql: str, most: str, setting: str
) -> None:
    settings = ClickHouseSettings.model_validate({"port": running.port, "http_port": running.http_port, **LIMITS})
    for ask in (lambda: run(settings, sql, {}), lambda: export(settings, sql, {}, io.BytesIO())):
        with pytest.raises(APIError) as caught:
            ask()
        assert most in caught.value.message
        assert caught.value.field == f"clickhouse.reader_max_{setting}"
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "settings"),
    [
        ("CREATE USER x", {}),
        ("SET ROLE x", {}),
        ("SELECT 1 k GROUP BY k WITH TOTALS", {}),
        ("SELECT 1", {"extremes": 1}),
        ("SYSTEM SHUTDOWN", {}),
        ("INSERT INTO wharf.j FORMAT Native", {}),
    ],
)
def test_what_it_does_not_do_is_refused_with_a_code(running: Embedded, sql: str, settings: dict[str, int]) -> None:
    running.server.execute("CREATE TABLE IF NOT EXISTS wharf.j (j JSON) ENGINE = MergeTree ORDER BY tuple()")
    with running.server.client() as client:
        with pytest.raises(ServerException, match="not implemented") as caught:
            client.execute(sql, settings=settings)
        assert caught.value.code == 48
        assert client.execute("SELECT 1") == [(1,)]


def test_http_answers_curls_ways_of_asking(running: Embedded) -> None:
    url, writer = running.url, {"user": "default"}
    assert httpx.get(f"{url}/ping").text == "Ok.\n"
    assert httpx.get(url, params={"query": "SELECT 1, 'a' FORMAT CSV"}).text == '1,"a"\n'
    given = {"param_x": "it's", "param_n": "7", "default_format": "JSONEachRow"}
    answer = httpx.post(url, params=given, content="SELECT {x:String} AS x, {n:UInt8} AS n")
    assert (answer.json(), answer.headers["X-ClickHouse-Format"]) == ({"x": "it's", "n": 7}, "JSONEachRow")
    httpx.post(url, params=writer, content="CREATE TABLE wharf.h (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    query = {**writer, "query": "INSERT INTO wharf.h FORMAT CSV"}
    assert httpx.post(url, params=query, content=b"1,x\n2,y\n").status_code == 200
    assert httpx.post(url, auth=("default", ""), content="INSERT INTO wharf.h VALUES (3, 'a\n\nb')").status_code == 200
    assert httpx.post(url, params=query, content=b"4,x\nnope\n").status_code >= 400
    assert httpx.get(url, params={"query": "SELECT a FROM wharf.h ORDER BY a"}).text == "1\n2\n3\n"
    assert httpx.get(url, params={**writer, "query": "DROP TABLE wharf.h"}).status_code == 403
    assert httpx.post(url, auth=("default", "wrong"), content="SELECT 1").status_code == 403
    assert httpx.post(url, content="SELECT * FROM nope").status_code == 404
    csv = httpx.post(url, params=writer, content="SELECT number FROM numbers(200000) FORMAT CSVWithNames").text
    assert csv.count("number") == 1
    assert csv.count("\n") == 200_001


def test_a_web_page_cannot_ask(running: Embedded) -> None:
    assert httpx.post(running.url, headers={"Origin": "http://example.org"}, content="SELECT 1").status_code == 403
    assert httpx.post(running.url, headers={"Host": "example.org"}, content="SELECT 1").status_code == 403


def test_a_failure_in_the_middle_cannot_be_taken_for_the_whole(running: Embedded) -> None:
    # Far behind what ClickHouse makes before the first block is asked for, or the failure comes instead of it.
    sql = "SELECT throwIf(number = 5000000) FROM numbers(6000000) SETTINGS max_threads = 1"
    with httpx.stream("POST", running.url, params={"user": "default"}, content=sql) as answer:
        assert answer.status_code == 200, "it comes in the middle"
        with pytest.raises(httpx.RemoteProtocolError):
            list(answer.iter_bytes())


def test_clickhouse_connect_works(running: Embedded) -> None:
    with closing(clickhouse_connect.get_client(port=running.http_port, username="default", host="127.0.0.1")) as client:
        client.command(
            "CREATE TABLE wharf.cc (a UInt32, s String, l LowCardinality(String)) ENGINE = MergeTree ORDER BY a"
        )
        client.insert("wharf.cc", [[n, f"s{n}", "x"] for n in range(1_000)], column_names=["a", "s", "l"])
        rows = client.query(
            "SELECT count(), max(s) FROM wharf.cc WHERE a >= {n:UInt32}", parameters={"n": 10}
        ).result_rows
        assert rows == [(990, "s999")]


def test_a_query_that_returns_nothing_yet_is_stopped_when_its_client_leaves(running: Embedded) -> None:
    sql = "SELECT sum(sleepEachRow(0.1)) FROM numbers(600) SETTINGS max_block_size = 1"
    busy = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sleepEachRow%'"
    with running.server.client() as leaving:
        asking = threading.Thread(target=lambda: _ignore(lambda: leaving.execute(sql)))
        asking.start()
        wait_until(lambda: running.server.execute(busy) == [(1,)], 20, "the query runs")
        leaving.connection.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: running.server.execute(busy) == [(0,)], 20, "the query has been stopped")
        asking.join()


def test_more_connections_than_allowed_are_told(running: Embedded) -> None:
    before = int(running.metric("wharf_clickhouse_connections"))
    idle = [running.server.client() for _ in range(20 - before)]
    for one in idle:
        # Whoever says nothing is left after some seconds.
        one.connection.connect()
    wait_until(lambda: running.metric("wharf_clickhouse_connections") == 20, 20, "all are there")
    try:
        with running.server.client() as late, pytest.raises(ServerException) as caught:
            late.execute("SELECT 1")
        assert caught.value.code == 202
        assert httpx.get(f"{running.url}/ping").status_code == 503
    finally:
        for one in idle:
            one.disconnect()
    wait_until(lambda: running.metric("wharf_clickhouse_connections") <= before, 20, "their places are free again")
    assert running.server.execute("SELECT 1") == [(1,)]
    assert running.metric("wharf_clickhouse_incoming_bytes") == 0


def _ignore(do: object) -> None:
    try:
        do()  # type: ignore[operator]
    except (Error, EOFError, OSError):
        return


def test_running_queries_are_let_finish_and_a_restart_has_everything(tmp_path: Path) -> None:
    with clickhouse.embedded(tmp_path) as server:
        server.server.execute("CREATE TABLE wharf.r (a UInt32) ENGINE = MergeTree ORDER BY a")
        server.server.execute("INSERT INTO wharf.r VALUES", [(n,) for n in range(1_000)])
        # Each with whether the end had been asked for when it came.
        answers: list[tuple[object, bool]] = []
        ending = threading.Event()
        with server.server.client() as client, server.server.client() as other:
            sql = "SELECT sum(sleepEachRow(0.1)) FROM numbers(10) SETTINGS max_block_size = 1"

            def ask() -> None:
                # One after the other until the server is gone, so that nobody has to catch the only one.
                try:
                    while True:
                        answers.append((client.execute(sql), ending.is_set()))
                except (Error, EOFError, OSError):
                    return

            asking = threading.Thread(target=ask)
            asking.start()
            young = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sleep%' AND elapsed < 0.5"
            wait_until(lambda: other.execute(young) == [(1,)], 20, "a query has begun")
            ending.set()
            assert server.stop() == 0
            asking.join()
        assert all(rows == [(0,)] for rows, _ in answers)
        assert answers[-1][1], "it was let finish"
        server.start()
        assert server.server.execute("SELECT count() FROM wharf.r") == [(1_000,)]


def test_kills_during_inserts_lose_and_double_nothing(tmp_path: Path) -> None:
    batches, size = 40, 5_000
    with clickhouse.embedded(tmp_path) as server:
        server.server.execute(
            "CREATE TABLE wharf.k (a UInt64, s String) ENGINE = MergeTree ORDER BY a"
            " SETTINGS non_replicated_deduplication_window = 1000"
        )
        inserted = threading.Event()
        done: list[int] = []

        def insert() -> None:
            for number in range(batches):
                rows = [(number * size + n, "x" * 50) for n in range(size)]
                settings = {
                    "insert_deduplication_token": f"t-0-{number}",
                    "async_insert": 0,
                    "insert_block_size": 2_000,
                }
                deadline = time.monotonic() + 120
                while time.monotonic() < deadline:
                    try:
                        server.server.execute("INSERT INTO wharf.k VALUES", rows, settings=settings)
                    except (Error, EOFError, OSError):
                        continue
                    done.append(number)
                    inserted.set()
                    break

        inserting = threading.Thread(target=insert)
        inserting.start()
        kills = 0
        while kills < 4 and inserting.is_alive():
            inserted.clear()
            if not inserted.wait(60):
                break
            server.stop(signal.SIGKILL)
            server.start()
            kills += 1
        inserting.join()
        assert len(done) == batches
        assert kills == 4
        assert server.server.execute("SELECT count(), uniqExact(a) FROM wharf.k") == [(batches * size, batches * size)]
        assert not list((tmp_path / "clickhouse" / "spool").iterdir())
