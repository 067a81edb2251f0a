"""The embedded ClickHouse's parsers: packets, blocks, statements; what they take, and what they refuse."""

from __future__ import annotations

import io
import random
import struct
from email.message import Message

import pytest

from analytics.embedded import blocks, frames, packets, reading, statements, types, wire
from analytics.embedded.errors import (
    CHECKSUM_DOESNT_MATCH,
    MEMORY_LIMIT_EXCEEDED,
    NOT_IMPLEMENTED,
    UNKNOWN_CODEC,
    UNKNOWN_TYPE,
    Denied,
    ServerError,
    from_engine,
)
from analytics.embedded.http_body import Body
from analytics.embedded.reading import Beyond
from analytics.embedded.statements import Kind
from tests.support import hostile_clickhouse as hostile

BEYOND = Beyond(
    table_functions=frozenset({"file", "url", "sqlite", "python"}), functions=frozenset({"file", "aigenerate"})
)
BUDGET = wire.Budget(1 << 30)


def test_blocks_of_any_type_are_measured_to_their_last_byte() -> None:
    hostile.valid_blocks(random.Random(11), 1_500)


def test_damaged_blocks_end_in_a_code_or_are_not_enough() -> None:
    hostile.damaged_blocks(random.Random(12), 2_000)


def test_damaged_packets_end_in_a_code_or_are_not_enough() -> None:
    hostile.damaged_packets(random.Random(13), 2_000)


def test_damaged_statements_are_still_told_apart() -> None:
    hostile.damaged_statements(random.Random(14), 5_000)


def test_bodies_come_whole_or_not_at_all() -> None:
    hostile.bodies(random.Random(15), 600)


@pytest.mark.parametrize("length", ["-1", "1_0", "\u00b2", "", "9" * 30])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    headers = Message()
    headers["Content-Length"] = length
    with pytest.raises(ServerError, match="Content-Length is"):
        list(Body(headers, io.BytesIO(b"x")))


@pytest.mark.parametrize("size", [b"-5", b"0x3", b"1_0", b"", b"g"])
def test_a_chunk_without_a_size_is_refused(size: bytes) -> None:
    headers = Message()
    headers["Transfer-Encoding"] = "chunked"
    with pytest.raises(ServerError, match="a chunk's size is"):
        list(Body(headers, io.BytesIO(size + b"\r\nabc\r\n0\r\n\r\n")))


@pytest.mark.parametrize(
    "name", ["JSON", "Variant(String, UInt8)", "Dynamic", "AggregateFunction(uniq, UInt8)", "Array(JSON)"]
)
def test_a_type_that_cannot_be_carried_is_refused_by_name(name: str) -> None:
    with pytest.raises(ServerError, match="not implemented by this server") as caught:
        types.shape(name)
    assert caught.value.code == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "name", ["", "Strin", "Array(", "Array(String", "Array(String))", "FixedString(x)", "Tuple(", "a" * 70_000]
)
def test_a_broken_type_is_refused(name: str) -> None:
    with pytest.raises(ServerError) as caught:
        types.shape(name)
    assert caught.value.code == UNKNOWN_TYPE


def test_a_type_nested_without_end_is_refused() -> None:
    with pytest.raises(ServerError, match="nested deeper"):
        types.shape("Array(" * 5_000 + "String" + ")" * 5_000)


def test_a_block_above_the_limit_is_refused_before_it_is_held() -> None:
    claim = wire.varint(1) + wire.varint(1 << 31) + wire.text("a") + wire.text("UInt64")
    reader = hostile.reader_over(blocks.BLOCK_INFO + claim, chunk=64)
    with pytest.raises(ServerError) as caught:
        blocks.read_block(reader)
    assert caught.value.code == MEMORY_LIMIT_EXCEEDED


def test_all_connections_together_hold_no_more_than_the_budget() -> None:
    budget = wire.Budget(1_000)
    first = wire.Reader(lambda: bytes(600), budget, 10_000)
    second = wire.Reader(lambda: bytes(600), budget, 10_000)
    first.need(1)
    with pytest.raises(ServerError) as caught:
        second.need(1)
    assert caught.value.code == MEMORY_LIMIT_EXCEEDED
    first.close()
    second.need(1)
    second.close()
    assert budget.used == 0


def test_what_was_taken_counts_until_its_taker_reads_on() -> None:
    budget = wire.Budget(10_000)
    parts = [blocks.BLOCK_INFO + b"\1\3" + wire.text("a") + wire.text("UInt8") + b"abc", b"next"]
    reader = wire.Reader(lambda: parts.pop(0) if parts else b"", budget, 10_000)
    block = blocks.read_block(reader)
    assert budget.used == len(block.native)
    assert reader.u8() == ord("n")
    reader.drop_consumed()
    assert budget.used == 3


def test_a_frame_that_unpacks_to_more_than_the_budget_is_refused_before() -> None:
    [frame] = frames.write_frames(bytes(1 << 20))
    assert len(frame) < 10_000
    with pytest.raises(ServerError) as caught:
        frames.read_frame(hostile.reader_over(frame, chunk=4096), wire.Budget(1 << 19))
    assert caught.value.code == MEMORY_LIMIT_EXCEEDED


def test_long_names_of_types_are_not_kept() -> None:
    before = types._known.cache_info().currsize
    for size in range(600, 700):
        types.shape(f"Tuple({'UInt8, ' * size}String)")
    assert types._known.cache_info().currsize == before


def test_a_changed_frame_and_another_codec_are_told() -> None:
    [frame] = frames.write_frames(b"hello" * 100)
    assert frames.read_frame(hostile.reader_over(frame, chunk=7), BUDGET) == b"hello" * 100
    with pytest.raises(ServerError) as caught:
        frames.read_frame(hostile.reader_over(frame[:-1] + b"\0", chunk=4096), BUDGET)
    assert caught.value.code == CHECKSUM_DOESNT_MATCH
    other = struct.pack("<BII", frames.ZSTD, 10, 1) + b"x"
    sealed = frames.checksum(other) + other
    with pytest.raises(ServerError, match="use LZ4") as caught:
        frames.read_frame(hostile.reader_over(sealed, chunk=4096), BUDGET)
    assert caught.value.code == UNKNOWN_CODEC


def test_settings_of_an_old_client_are_read_by_their_type() -> None:
    types_of = {"max_threads": "MaxThreads", "totals_mode": "TotalsMode"}
    settings = wire.text("max_threads") + wire.varint(300) + wire.text("totals_mode") + wire.text("auto")
    packet = hostile.query_packet(settings=settings)
    query = packets.read_query(hostile.reader_over(packet, chunk=4096), 54412, types_of.get)
    assert query.settings == {"max_threads": "300", "totals_mode": "auto"}
    assert query.compressed


@pytest.mark.parametrize(
    ("sql", "kind", "bare", "format_name"),
    [
        ("SELECT 1", Kind.SELECT, "SELECT 1", ""),
        ("select 1 as a format JSON;", Kind.SELECT, "select 1 as a ", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", Kind.SELECT, "SELECT 1  SETTINGS max_threads = 1", "JSON"),
        ("SELECT 1 AS format", Kind.SELECT, "SELECT 1 AS format", ""),
        ("SELECT x FROM format y", Kind.SELECT, "SELECT x FROM format y", ""),
        ("((SELECT 'FORMAT JSON'))", Kind.SELECT, "((SELECT 'FORMAT JSON'))", ""),
        ("-- c\n/* FORMAT x */ WITH 1 AS a SELECT a", Kind.SELECT, "-- c\n/* FORMAT x */ WITH 1 AS a SELECT a", ""),
        ("show tables", Kind.SHOW, "show tables", ""),
        ("WITH 1 AS a INSERT INTO t SELECT a", Kind.WRITE, "WITH 1 AS a INSERT INTO t SELECT a", ""),
        ("USE x;", Kind.USE, "USE x", ""),
        ("INSERT INTO t SELECT 1", Kind.WRITE, "INSERT INTO t SELECT 1", ""),
        ("INSERT INTO t (SELECT 1)", Kind.WRITE, "INSERT INTO t (SELECT 1)", ""),
        ("CREATE TABLE t (a UInt8)", Kind.WRITE, "CREATE TABLE t (a UInt8)", ""),
        ("", Kind.OTHER, "", ""),
    ],
)
def test_statements_are_told_apart(sql: str, kind: Kind, bare: str, format_name: str) -> None:
    found = statements.parse(sql)
    assert (found.kind, found.bare, found.format) == (kind, bare, format_name)


@pytest.mark.parametrize(
    ("sql", "target", "columns", "into", "format_name", "data"),
    [
        ("INSERT INTO t VALUES", "t", "", "INSERT INTO t", "Values", ""),
        (
            "insert into a.`b c` (x, `y z`) values (1)",
            "a.`b c`",
            "x, `y z`",
            "insert into a.`b c` (x, `y z`)",
            "values",
            " (1)",
        ),
        ("INSERT INTO t FORMAT CSV\n1,2", "t", "", "INSERT INTO t", "CSV", "\n1,2"),
        ("INSERT INTO t SETTINGS a='VALUES' VALUES", "t", "", "INSERT INTO t", "Values", ""),
        (
            "INSERT INTO FUNCTION f('(', 1) (a) FORMAT X y",
            "f('(', 1)",
            "a",
            "INSERT INTO FUNCTION f('(', 1) (a)",
            "X",
            " y",
        ),
        ("INSERT INTO t (* EXCEPT(a))", "t", "* EXCEPT(a)", "INSERT INTO t (* EXCEPT(a))", "Values", ""),
    ],
)
def test_the_parts_of_an_insert(sql: str, target: str, columns: str, into: str, format_name: str, data: str) -> None:
    found = statements.parse(sql)
    assert found.kind is Kind.INSERT
    insert = found.insert
    assert insert is not None
    assert (insert.target, insert.columns, insert.into) == (target, columns, into)
    assert insert.format.lower() == format_name.lower()
    assert sql[insert.data :] == data


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM t GROUP BY a WITH /* c */ TOTALS",
        "CREATE USER x",
        "CREATE OR REPLACE USER x",
        "GRANT SELECT ON *.* TO x",
        "SELECT 1 INTO OUTFILE 'x'",
        "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
        "WATCH v",
        "SET ROLE x",
        "EXECUTE AS x SELECT 1",
        "SYSTEM SHUTDOWN",
        "system /* c */ kill",
        "INSERT INTO t (SELECT 1) INTO OUTFILE 'x'",
    ],
)
def test_what_the_server_does_not_do_is_refused(sql: str) -> None:
    with pytest.raises(ServerError) as caught:
        statements.parse(sql)
    assert caught.value.code == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "WITH 1 AS a INSERT INTO t SELECT a",
        "with (SELECT 1) AS a insert /* c */ into t SELECT a",
        "SET max_threads = 1",
        "KILL QUERY WHERE 1",
        "file('/etc/passwd')",
        "SELECT file('/etc/passwd')",
        "SELECT `file` /* c */ ('x')",
        'SELECT "FILE"(1)',
        r"SELECT `fi\x6ce`('x')",
        "SELECT * APPLY file FROM (SELECT 'x')",
        "SELECT arrayMap(File, ['x'])",
        "SELECT arrayMap({f:Identifier}, ['x'])",
        "SELECT 1 // '\n, file('x') // '",
        "SELECT 1 /* /* */ ' */ , file('x') --'",
        "SELECT 1$a$ ' $a$, file('x') --'",
        "SELECT 1e--file('x')",
        "SELECT aiGenerate('x')",
        "SELECT * FROM Sqlite('a', 'b')",
        "SELECT file\u00a0('x')",
        "SELECT \u2018'\u2018, file('x'), \u2018'\u2018",
        "WITH 1 AS a SELECT * FROM url('x')",
    ],
)
def test_a_reader_reads_tables_only(sql: str) -> None:
    with pytest.raises(Denied):
        reading.check_reader(sql.encode().decode("latin-1"), BEYOND)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'file(1)' -- file(\n",
        "SELECT t.file, t.`file` FROM t",
        "SELECT $a$ file( $a$",
        "(SELECT 1);",
        "EXPLAIN SELECT 1",
        "SELECT insert FROM t",
        "USE x",
        "",
    ],
)
def test_a_reader_may_read(sql: str) -> None:
    reading.check_reader(sql, BEYOND)


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "SELECT 1;;x", "INSERT INTO t SELECT 1; DROP TABLE t", "USE a;b"]
)
def test_two_statements_are_none(sql: str) -> None:
    with pytest.raises(ServerError, match="Multi-statements are not allowed"):
        statements.parse(sql)


@pytest.mark.parametrize(
    ("sql", "data"),
    [
        ("INSERT INTO t FORMAT CSV\n1", b"1"),
        ("INSERT INTO t FORMAT CSV  \r\n1", b"1"),
        ("INSERT INTO t FORMAT CSV 1", b"1"),
        ("INSERT INTO t FORMAT RowBinary\n\n", b"\n"),
        ("INSERT INTO t FORMAT CSV;", b""),
        ("INSERT INTO t VALUES ('a  '), ('", b" ('a  '), ('"),
        ("INSERT INTO t VALUES ;", b""),
    ],
)
def test_where_the_data_of_an_insert_begin(sql: str, data: bytes) -> None:
    insert = statements.parse(sql).insert
    assert insert is not None
    assert statements.inline_data(sql, insert) == data


def test_the_engines_errors_keep_their_code() -> None:
    error = from_engine(
        RuntimeError("Streaming query failed: Code: 395. DB::Exception: Value passed: x. (FUNCTION_THROW)")
    )
    assert (error.code, error.message) == (395, "Value passed: x. (FUNCTION_THROW)")
    assert from_engine(RuntimeError("something else")).code == 1001
