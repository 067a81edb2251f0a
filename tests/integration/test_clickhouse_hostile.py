"""The embedded ClickHouse against readers who would read more than tables, and clients that send, take or ask too much."""

from __future__ import annotations

import gzip
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ServerException

from analytics.embedded.app import DRAIN_SECONDS
from analytics.embedded.blocks import BLOCK_INFO
from analytics.embedded.wire import text, varint
from tests.support import clickhouse_servers as clickhouse
from tests.support import hostile_clickhouse as hostile
from tests.support.clickhouse_servers import Embedded
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
SECRET = "s3cr3t-of-the-machine"
MEGABYTE = 1 << 20
LONG = "SELECT sum(sleepEachRow(0.1)) FROM numbers(600) SETTINGS max_block_size = 1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder, incoming = tmp_path_factory.mktemp("hostile"), str(64 * MEGABYTE)
    with clickhouse.embedded(
        folder, max_connections="24", max_incoming_bytes=incoming, reader_max_seconds="5"
    ) as server:
        server.server.execute("CREATE TABLE wharf.hostile (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
        yield server


# --- readers ----------------------------------------------------------------------------------------------------------


def attempts(secret: Path, written: Path, url: str) -> list[tuple[str, dict[str, str]]]:
    """Statements with their settings, each of which reached a file or a server, or tries to by a way like one that did."""
    file = f"file('{secret}')"
    return [
        (file, {}),
        (f"SELECT {file}", {}),
        (f"SELECT `fi\\x6ce`('{secret}')", {}),
        (f"SELECT * APPLY file FROM (SELECT '{secret}' AS p)", {}),
        (f"SELECT arrayMap(file, ['{secret}'])", {}),
        (f"SELECT arrayMap({{f:Identifier}}, ['{secret}'])", {"param_f": "file"}),
        (f"SELECT 1 // '\n, {file} // '", {}),
        (f"SELECT 1 /* /* */ ' */ , {file} --'", {}),
        (f"SELECT 1; SELECT {file}", {}),
        (f"WITH 1 AS a SELECT a, {file}", {}),
        (f"EXPLAIN AST SELECT {file}", {}),
        (f"SELECT * FROM file('{secret}', 'TSV', 'a String')", {}),
        (f"SELECT * FROM `{secret}`", {}),
        (f"SELECT * FROM default.`{secret}`", {}),
        (f"SELECT * FROM url('{url}', 'TSV', 'a String')", {}),
        (f"SELECT * FROM remote('{url.removeprefix('http://')}', 'system.one')", {}),
        (f"SELECT 'x' INTO OUTFILE '{written}'", {}),
        (f"SELECT 'x' INTO/* */OUTFILE '{written}' FORMAT CSV", {}),
        ("SELECT 1 FORMAT Template", {"format_template_resultset": str(secret)}),
        ("SELECT 1 FORMAT Template", {"format_template_row": str(secret)}),
        ("SELECT 1 AS a FORMAT Protobuf", {"format_schema": f"{secret}:M"}),
        ("SELECT 1 AS a FORMAT Protobuf", {"output_format_schema": str(written)}),
        ("SELECT 1 AS a FORMAT AvroConfluent", {"format_avro_schema_registry_url": url}),
        (f"SELECT aiGenerate('x', map('credentials', '{url}'))", {}),
        ("SELECT * FROM executable('cat', 'TSV', 'a String', (SELECT 1))", {}),
        ("SELECT * FROM Python(secret)", {}),
        ("SELECT 1", {"readonly": "0", "max_rows_to_group_by": "1"}),
        ("SELECT 1 SETTINGS readonly = 0", {}),
        ("SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0) SETTINGS readonly = 0", {}),
        ("SELECT 1; SET readonly = 0", {}),
        ("EXECUTE AS default SELECT 1", {}),
        ("SYSTEM RELOAD CONFIG", {}),
        ("ALTER TABLE wharf.hostile DELETE WHERE 1", {}),
        ("WITH 1 AS a INSERT INTO wharf.hostile SELECT a, 'x'", {}),
        ("CREATE FUNCTION f AS x -> x", {}),
        (
            "CREATE DICTIONARY d (a UInt8) PRIMARY KEY a SOURCE(FILE(path '/x' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
            {},
        ),
    ]


def test_a_reader_reaches_no_file_no_server_and_no_setting(running: Embedded, tmp_path: Path) -> None:
    secret, written = tmp_path / "secret.tsv", tmp_path / "written"
    secret.write_text(f"{SECRET}\n")
    with socket.create_server(("127.0.0.1", 0)) as reached:
        reached.setblocking(False)
        url = f"http://127.0.0.1:{reached.getsockname()[1]}"
        for sql, settings in attempts(secret, written, url):
            with running.server.client(user="reader") as reader:
                with pytest.raises(ServerException) as caught:
                    reader.execute(sql, settings=settings)
                assert caught.value.code in (48, 62, 164), (sql, caught.value)
                assert SECRET not in str(caught.value), sql
                assert reader.execute("SELECT 1") == [(1,)]
            answer = httpx.post(running.url, params=settings, content=sql)
            assert answer.status_code in (400, 403, 501), (sql, answer.text)
            assert SECRET not in answer.text, sql
        with pytest.raises(BlockingIOError):
            reached.accept()
    assert not written.exists()
    assert running.server.execute("SELECT count() FROM wharf.hostile") == [(0,)]


def test_limits_hold_in_queries_inside_the_query(running: Embedded) -> None:
    rows = "SELECT count() FROM numbers(2000000000) SETTINGS max_rows_to_read = 0"
    with running.server.client(user="reader") as reader:
        for sql in (f"SELECT * FROM ({rows})", f"WITH x AS ({rows}) SELECT * FROM x", f"SELECT ({rows})"):
            with pytest.raises(ServerException) as caught:
                reader.execute(sql)
            assert caught.value.code == 158, caught.value
        reader.execute("SELECT 1", settings={"max_threads": 100_000, "max_execution_time": "0.5"})


def test_where_a_token_ends_is_where_the_engine_says(running: Embedded) -> None:
    with running.server.client() as client:
        hostile.lexer(random.Random(16), 10_000, partial(hostile.engine_tokens, client))


# --- clients ----------------------------------------------------------------------------------------------------------


def test_damaged_clients_leave_nothing_behind(running: Embedded) -> None:
    before = running.metric("wharf_clickhouse_connections")
    hostile.clients(random.Random(17), 200, running.port, running.http_port)
    wait_until(lambda: running.metric("wharf_clickhouse_connections") <= before, 20, "all have left")
    assert running.metric("wharf_clickhouse_incoming_bytes") == 0
    assert running.server.execute("SELECT 1") == [(1,)]
    assert "connection_failed" not in running.log()


class Spoken:
    """A client of the native protocol, packet by packet."""

    def __init__(self, port: int, user: str = "default") -> None:
        self.peer = socket.create_connection(("127.0.0.1", port), timeout=60)
        hello = b"\0" + text("client") + varint(1) + varint(2) + varint(54460) + text("wharf") + text(user) + text("")
        self.peer.sendall(hello)
        if self.peer.recv(1_000)[:1] != b"\0":
            self.peer.close()
            pytest.fail("no Hello")

    def ask(self, sql: str | bytes, *tables: bytes, settings: bytes = b"") -> None:
        self.peer.sendall(b"\1" + hostile.query_packet(sql=sql, settings=settings, compression=False))
        for table in tables:
            self.peer.sendall(table)
        self.peer.sendall(EMPTY)

    def heard(self, end: bytes) -> bytes:
        """What comes, up to `end`; who shuts its own side is taken for one that has left."""
        found = b""
        while end not in found and (piece := self.peer.recv(1 << 16)):
            found += piece
        assert end in found
        return found

    def __enter__(self) -> Spoken:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()


EMPTY = b"\2" + text("") + BLOCK_INFO + varint(0) + varint(0)


def data(name: str, megabytes: int) -> bytes:
    """A block of one column with 4096 rows for each megabyte."""
    head = varint(1) + varint(megabytes << 12) + text("s") + text("FixedString(256)")
    return b"\2" + text(name) + BLOCK_INFO + head + bytes(megabytes * MEGABYTE)


@contextmanager
def most_megabytes(server: Embedded) -> Iterator[list[int]]:
    """How much memory the server takes inside the `with`; files that it maps are none."""
    seen, ended = [server.megabytes()], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            seen[0] = max(seen[0], server.megabytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_memory_stays_bounded_whatever_clients_do(running: Embedded) -> None:
    """A long statement, tables and rows in large blocks, blocks that do not end, results that nobody takes, and
    results that are made at once."""
    server = running.server
    server.execute("CREATE TABLE wharf.large (s FixedString(256)) ENGINE = Null")
    before = running.megabytes()
    with most_megabytes(running) as most, ExitStack() as stack:
        with pytest.raises(ServerException, match="max_query_size"):
            server.execute("SELECT " + "(" * (8 * MEGABYTE))
        with Spoken(running.port) as client:
            client.ask("SELECT count() FROM given", *[data("given", 20)] * 2)
            client.heard(struct.pack("<Q", 40 << 12))
        with Spoken(running.port) as client:
            client.ask(
                "INSERT INTO wharf.large SETTINGS min_insert_block_size_bytes = 1000000, max_insert_block_size = 4096 VALUES"
            )
            for _ in range(40):
                client.peer.sendall(data("", 20))
            client.peer.sendall(EMPTY)
            client.heard(varint(800 << 12))
        for _ in range(4):
            unfinished = stack.enter_context(Spoken(running.port))
            unfinished.ask("INSERT INTO wharf.large VALUES")
            try:
                unfinished.peer.sendall(data("", 30)[:-1])
            except ConnectionError:
                # This one found no room any more.
                continue
        assert running.metric("wharf_clickhouse_incoming_bytes") <= 64 * MEGABYTE
        for _ in range(6):
            stack.enter_context(Spoken(running.port)).ask("SELECT number, repeat('x', 100) FROM numbers(1000000000)")
        sql = "SELECT repeat('x', 100000) FROM numbers(900000) FORMAT JSON"
        answer = httpx.post(running.url, params={"max_block_size": "10"}, content=sql, timeout=60)
        assert answer.headers["X-ClickHouse-Exception-Code"] in ("159", "396"), answer.text
    assert most[0] - before < 600
    server.execute("DROP TABLE wharf.large")
    wait_until(lambda: running.metric("wharf_clickhouse_incoming_bytes") == 0, 30, "all is given back")


def test_a_cancel_stops_its_own_query_only(running: Embedded) -> None:
    with running.server.client() as client:
        for number in range(6):
            rows = client.execute_iter(f"SELECT number FROM numbers({number * 200_000}, 100000000000)")
            next(rows)
            client.cancel()
            assert client.execute("SELECT sum(sleepEachRow(0.02)), 7 FROM numbers(2)")[0][1] == 7


def test_readers_leave_the_last_places_to_the_writer(running: Embedded) -> None:
    with ExitStack() as stack:
        # One more goes to who asks for the metric's last.
        while running.metric("wharf_clickhouse_connections") < 21:
            stack.enter_context(Spoken(running.port, "reader"))
        with running.server.client(user="reader") as reader, pytest.raises(ServerException) as caught:
            reader.execute("SELECT 1")
        assert caught.value.code == 202
        assert running.server.execute("SELECT 1") == [(1,)]
        answer = httpx.post(running.url, content="SELECT 1")
        assert (answer.status_code, answer.headers["Connection"]) == (503, "close")
        assert httpx.post(running.url, params={"user": "default"}, content="SELECT 1").text == "1\n"


def test_http_bodies_are_taken_as_they_are(running: Embedded) -> None:
    """Members one behind the other, spaces where a piece ends, a first chunk that is no whole statement, bytes that look
    like the end of a line."""
    running.server.execute("TRUNCATE TABLE wharf.hostile")
    writer = {"user": "default"}
    into = {**writer, "query": "INSERT INTO wharf.hostile FORMAT CSV"}
    packed = gzip.compress(b"1,a\n") + gzip.compress(b"2,b\n")
    assert httpx.post(running.url, params=into, content=packed, headers={"Content-Encoding": "gzip"}).status_code == 200
    spaces = " " * 300_000
    values = f"INSERT INTO wharf.hostile VALUES (3, '{spaces}'), (4, '{spaces}');".encode()
    assert httpx.post(running.url, params=writer, content=values).status_code == 200
    pieces = iter([b"INSERT IN", b"TO wharf.hostile FORMAT TSV\n5\tx\n"])
    assert httpx.post(running.url, params=writer, content=pieces).status_code == 200
    binary = {**writer, "query": "INSERT INTO wharf.hostile FORMAT RowBinary  "}
    assert httpx.post(running.url, params=binary, content=b"\n\0\0\0\1 ").status_code == 200
    assert running.server.execute("SELECT a, length(s) FROM wharf.hostile ORDER BY a") == [
        (1, 1), (2, 1), (3, 300_000), (4, 300_000), (5, 1), (10, 1)
    ]  # fmt: skip


def test_a_refusal_is_heard_though_much_is_still_being_sent(running: Embedded) -> None:
    for _ in range(5):
        answer = httpx.post(running.url, auth=("default", "wrong"), content=bytes(4 * MEGABYTE))
        assert answer.status_code == 403
        with Spoken(running.port) as client:
            client.peer.sendall(b"\x63" + bytes(MEGABYTE))
            client.heard(b"packet 99 is not known here")


def test_texts_that_are_no_utf8_are_told(running: Embedded) -> None:
    for sql, settings in ((b"SELECT '\xff'", b""), (b"SELECT 1", text("param_x") + b"\0" + text(b"\xff"))):
        with Spoken(running.port) as client:
            client.ask(sql, settings=settings)
            client.heard(b"not UTF-8")
    answer = httpx.get(f"{running.url}/?query=SELECT%20%27%ff%27")
    assert (answer.status_code, "not UTF-8" in answer.text) == (400, True)
    answer = httpx.get(f"{running.url}/?query=SELECT%20%7Bx:String%7D&param_x=%ff")
    assert "X-ClickHouse-Exception-Code" in answer.headers
    into = {"user": "default", "query": "INSERT INTO wharf.hostile FORMAT CSV"}
    answer = httpx.post(running.url, params=into, content=b"1\r\xb7\xc9")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "27", "its text has the bytes"
    answer = httpx.get(running.url, headers={"Host": "[::1"})
    assert answer.status_code == 403
    with socket.create_connection(("127.0.0.1", running.http_port)) as peer:
        peer.sendall(b"GET //[?query=SELECT%201 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 200")


# --- beginning and end ------------------------------------------------------------------------------------------------


def test_what_comes_while_it_stops_is_told_and_what_runs_too_long_is_ended(tmp_path: Path) -> None:
    with clickhouse.embedded(tmp_path) as server:
        for _ in range(10):
            if ends_in_order(server):
                return
            server.start()
        raise AssertionError("no query came while the server stops")


def ends_in_order(server: Embedded) -> bool:
    """False where the query that is to come while it stops was sent too early or too late for that."""
    with ExitStack() as stack:
        asking, idle = (stack.enter_context(server.server.client()) for _ in range(2))
        idle.execute("SELECT 1")
        told: list[Exception] = []

        def ask() -> None:
            try:
                asking.execute(LONG)
            except (Error, EOFError, OSError) as error:
                told.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sleepEachRow%'"
        wait_until(lambda: idle.execute(running) == [(1,)], 20, "the query runs")
        signalled = time.monotonic()
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(server.port), 30, "it stops")
        refusal = refused_query(idle)
        # None: answered, in the moment between the end of the listener and that of its clients.
        in_time: bool = refusal is not None and time.monotonic() - signalled < DRAIN_SECONDS
        if in_time:
            assert isinstance(refusal, ServerException)
            assert (refusal.code, "is stopping" in str(refusal)) == (236, True)
        thread.join()
        assert [getattr(error, "code", None) for error in told] == [236], told
        assert server.wait() == 0
    return in_time


def refused_query(client: Client) -> Exception | None:
    """What a query comes to that is sent without the ping before it: as one that was sent before the end was known."""
    try:
        client.connection.send_query("SELECT 1")
        client.connection.send_external_tables([])
        client.receive_result()
    except (Error, EOFError, OSError) as error:
        return error
    finally:
        client.disconnect()
    return None


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_what_keeps_it_from_starting_is_one_line(running: Embedded, tmp_path: Path) -> None:
    def start(folder: Path, **settings: Any) -> str:
        second = Embedded(folder, {}, **settings)
        done: subprocess.CompletedProcess[str] = second.run()
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    said = start(tmp_path, port=str(running.port))
    assert said.startswith("db.clickhouse_unavailable: cannot listen on 127.0.0.1")
    assert "(clickhouse.port): Address already in use" in said
    assert "is in use by another server" in start(running.folder)
