"""Hostile input for the embedded ClickHouse: valid blocks of random types, and damaged blocks, packets and statements.

Whatever comes is read to its exact end, refused with a code, or not enough; a reader never holds more than its limit.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable

from analytics.embedded import blocks, frames, packets, reading, statements, types
from analytics.embedded.blocks import BLOCK_INFO
from analytics.embedded.errors import Disconnected, ServerError
from analytics.embedded.lexer import tokens
from analytics.embedded.reading import Beyond
from analytics.embedded.wire import Budget, Reader, text, varint
from tests.support.hostile import damaged

LIMIT = 1 << 20
SCALARS = (
    "UInt8",
    "Int64",
    "Float64",
    "DateTime64(3, 'UTC')",
    "Decimal(18, 4)",
    "UUID",
    "Enum8('a, (' = 1, 'b\\'' = 2)",
)
STATEMENTS = (
    "SELECT 1",
    "WITH x AS (SELECT 1) SELECT * FROM x FORMAT JSON",
    "INSERT INTO `a b`.t (a, `b c`) SETTINGS x = 'y' VALUES (1, 'a')",
    "INSERT INTO FUNCTION file('x', 'CSV') FORMAT CSV\n1,2",
    "/* c */ SELECT 'it''s', \"q\", $tag$ file( $tag$ -- end\n",
)


def reader_over(data: bytes, *, chunk: int, limit: int = LIMIT) -> Reader:
    """A reader that gets so many bytes at a time."""
    parts = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    return Reader(lambda: parts.pop(0) if parts else b"", Budget(limit * 2), limit)


def type_name(rng: random.Random, depth: int = 0) -> str:
    def inner() -> str:
        return type_name(rng, depth + 1)

    match rng.randint(0, 9 if depth < 3 else 2):
        case 0 | 1:
            return rng.choice(SCALARS)
        case 2:
            return rng.choice(("String", "FixedString(5)", "LowCardinality(String)", "Nullable(String)"))
        case 3 | 4:
            return f"Array({inner()})"
        case 5:
            return f"Map({rng.choice(('String', 'LowCardinality(String)'))}, {inner()})"
        case 6:
            return f"Tuple({inner()}, `b c` {inner()})"
        case 7:
            return f"LowCardinality({rng.choice(('String', 'Nullable(String)', 'UInt8'))})"
        case 8:
            return f"SimpleAggregateFunction(sum, {rng.choice(SCALARS)})"
    return f"Nested(a {inner()}, b String)"


def _prefix(shape: types.Shape) -> bytes:
    match shape:
        case types.LowCardinality():
            return struct.pack("<Q", 1)
        case types.Array(inner) | types.Nullable(inner):
            return _prefix(inner)
        case types.Tuple(inners):
            return b"".join(_prefix(inner) for inner in inners)
    return b""


def _values(rng: random.Random, shape: types.Shape, rows: int) -> bytes:
    match shape:
        case types.Fixed(size):
            return rng.randbytes(size * rows)
        case types.Text():
            return b"".join(text(rng.randbytes(rng.choice((0, 1, 5, 127, 128, 300)))) for _ in range(rows))
        case types.Nullable(inner):
            return bytes(rng.choice((0, 1)) for _ in range(rows)) + _values(rng, inner, rows)
        case types.Tuple(inners):
            return b"".join(_values(rng, inner, rows) for inner in inners) or bytes(rows)
        case types.Array(inner):
            total, offsets = 0, []
            for _ in range(rows):
                total += rng.randint(0, 2)
                offsets.append(total)
            return struct.pack(f"<{rows}Q", *offsets) + (_values(rng, inner, total) if rows else b"")
        case types.LowCardinality(inner):
            if not rows:
                return b""
            keys = rng.randint(1, 3)
            plain = inner.inner if isinstance(inner, types.Nullable) else inner
            head = struct.pack("<QQ", 1 << 9, keys) + _values(rng, plain, keys)
            return head + struct.pack("<Q", rows) + bytes(rng.randrange(keys) for _ in range(rows))


def block(rng: random.Random) -> bytes:
    """A block as a client would send it."""
    rows = rng.choice((0, 1, 2, 7))
    out = BLOCK_INFO
    columns = rng.randint(1, 4)
    out += varint(columns) + varint(rows)
    for number in range(columns):
        name = type_name(rng)
        out += text(f"c{number}") + text(name)
        if rows:
            shape = types.shape(name)
            out += _prefix(shape) + _values(rng, shape, rows)
    return out


def valid_blocks(rng: random.Random, inputs: int) -> None:
    """Each is measured to its last byte and passed on unchanged, however it is cut into pieces."""
    for _ in range(inputs):
        data, behind = block(rng), rng.randbytes(5)
        reader = reader_over(data + behind, chunk=rng.choice((1, 3, 64, 4096)))
        assert blocks.read_block(reader).native == data[len(BLOCK_INFO) :]
        assert reader.raw(5) == behind


def _survives(reader: Reader, read: Callable[[], object]) -> None:
    try:
        read()
    except (ServerError, Disconnected):
        pass
    assert len(reader.buf) <= LIMIT + 4096


def damaged_blocks(rng: random.Random, inputs: int) -> None:
    for _ in range(inputs):
        reader = reader_over(damaged(rng, block(rng)), chunk=rng.choice((1, 64, 4096)))
        _survives(reader, lambda reader=reader: blocks.read_block(reader))  # type: ignore[misc]


def query_packet(*, settings: bytes = b"", sql: str = "SELECT 1") -> bytes:
    client = b"\1" + text("") + text("") + text("[::]:0") + b"\1" + text("u") + text("h") + text("c")
    client += varint(21) + varint(1) + varint(54440) + text("") + varint(0)
    return text("id") + client + settings + text("") + varint(2) + varint(1) + text(sql)


def damaged_packets(rng: random.Random, inputs: int) -> None:
    settings = text("max_threads") + varint(0) + text("1")
    hello = text("client") + varint(1) + varint(2) + varint(54460) + text("d") + text("u") + text("p")
    for _ in range(inputs):
        chunk = rng.choice((1, 16, 4096))
        reader = reader_over(damaged(rng, hello), chunk=chunk)
        _survives(reader, lambda reader=reader: packets.read_hello(reader))  # type: ignore[misc]
        revision = rng.choice((54372, 54401, 54428, 54440))
        reader = reader_over(damaged(rng, query_packet(settings=settings)), chunk=chunk)
        _survives(reader, lambda: packets.read_query(reader, revision, {"max_threads": "MaxThreads"}.get))  # noqa: B023
        framed = b"".join(frames.write_frames(rng.randbytes(rng.randint(0, 200))))
        reader = reader_over(damaged(rng, framed), chunk=chunk)
        _survives(reader, lambda reader=reader: frames.read_frame(reader, Budget(2 * LIMIT)))  # type: ignore[misc]


def damaged_statements(rng: random.Random, inputs: int) -> None:
    beyond = Beyond(table_functions=frozenset({"file"}), functions=frozenset({"file"}))
    for _ in range(inputs):
        sql = damaged(rng, rng.choice(STATEMENTS).encode()).decode("latin-1")
        found = list(tokens(sql))
        assert all(0 <= token.start < token.end <= len(sql) for token in found)
        assert all(before.end <= after.start for before, after in itertools.pairwise(found))
        try:
            statement = statements.parse(sql)
            reading.check_reader(sql, beyond)
        except ServerError:
            continue
        if statement.insert is not None:
            assert len(statement.insert.into) <= statement.insert.data <= len(sql)
