"""Hostile input for the embedded ClickHouse: valid blocks of random types, damaged blocks, packets, statements and bodies;
and clients that send such things to a running server.

Whatever comes is read to its exact end, refused with a code, or not enough; a reader never holds more than its limit.
"""

from __future__ import annotations

import gzip
import io
import itertools
import random
import socket
import struct
from collections.abc import Callable
from email.message import Message

import lz4.frame
from clickhouse_driver import Client

from analytics.embedded import blocks, frames, packets, reading, statements, types
from analytics.embedded.blocks import BLOCK_INFO
from analytics.embedded.errors import Disconnected, ServerError
from analytics.embedded.http_body import Body
from analytics.embedded.lexer import tokens
from analytics.embedded.reading import Beyond
from analytics.embedded.wire import CHUNK, Budget, Reader, text, varint
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


def query_packet(*, settings: bytes = b"", sql: str | bytes = "SELECT 1", compression: bool = True) -> bytes:
    client = b"\1" + text("") + text("") + text("[::]:0") + b"\1" + text("u") + text("h") + text("c")
    client += varint(21) + varint(1) + varint(54440) + text("") + varint(0)
    return text("id") + client + settings + text("") + varint(2) + varint(compression) + text(sql)


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


# What decides where a token ends.
PIECES = (
    "'", '"', "`", "\\", "/*", "*/", "//", "--", "-", "->", "#", "# ", "#!", "\n", " ", "\t", "$", "$a$", "$ $", "1", "0x",
    "0b", "12", "_", "e", "p", "+", ".", "x'", "b'", "41'", "file", "(", ")", "SELECT", ",", ";", "[", "]", "a", "\u2018",
    "\u2019", "\u201c", "\u00a0", "\u3000", "\0", "\\G", "@@", "::", "{", "?", "!", "=", "|", "é", "\u2212", "\ufeff", "\x01",
)  # fmt: skip
KINDS = {
    "BareWord": "word",
    "Number": "number",
    "StringLiteral": "string",
    "HereDoc": "string",
    "QuotedIdentifier": "name",
}
EngineTokens = list[tuple[int, int, str]]


def lexer(rng: random.Random, inputs: int, ask: Callable[[list[bytes]], list[EngineTokens]]) -> None:
    """Words, names, numbers and strings begin and end where the engine's own lexer (`ask`) says, up to its first error."""
    for _ in range(0, inputs, 500):
        texts = ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 14))).encode() for _ in range(500)]
        for sql, theirs in zip(texts, ask(texts), strict=True):
            found = list(tokens(sql.decode("latin-1")))
            # Typographic quotes are refused where it matters.
            ends = [begin for begin, _, kind in theirs if kind.startswith("Error")]
            ends += [token.start for token in found if token.is_sign("quote")]
            end = min(ends, default=len(sql))
            ours = [
                (token.start, token.end, token.kind) for token in found if token.kind != "other" and token.end <= end
            ]
            assert ours == [(*at, KINDS[kind]) for *at, kind in theirs if kind in KINDS and at[1] <= end], sql


def engine_tokens(client: Client, texts: list[bytes]) -> list[EngineTokens]:
    values = ",".join(f"('{sql.hex()}')" for sql in texts)
    sql = f"SELECT tokenizeQuery(unhex(h)) FROM values('h String', {values})"
    return [tokens for (tokens,) in client.execute(sql, settings={"max_threads": 1})]


def bodies(rng: random.Random, inputs: int) -> None:
    """A body comes out as it went in, in pieces of bounded size; a damaged one is refused, cut off, or told by its
    packing's own checksum, but no shorter without a word."""
    for _ in range(inputs):
        content = rng.choice((rng.randbytes(rng.randint(0, 400)), b"a" * rng.choice((0, 1, 3 * CHUNK))))
        headers, sent = Message(), content
        match rng.choice(("identity", "gzip", "lz4")):
            case "gzip":
                headers["Content-Encoding"] = "gzip"
                half = rng.randint(0, len(content))
                sent = gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
            case "lz4":
                headers["Content-Encoding"] = "lz4"
                half = rng.randint(0, len(content))
                sent = lz4.frame.compress(content[:half]) + lz4.frame.compress(content[half:])
        is_chunked = rng.random() < 0.7
        framed = _chunked(rng, sent) if is_chunked else sent
        headers["Transfer-Encoding" if is_chunked else "Content-Length"] = "chunked" if is_chunked else str(len(sent))
        assert b"".join(_pieces(headers, framed)) == content
        try:
            got = b"".join(_pieces(headers, damaged(rng, framed)))
        except (ServerError, Disconnected):
            continue
        # Bytes were changed, or sizes and what they measure alike.
        assert len(got) <= 4 * CHUNK


def _chunked(rng: random.Random, content: bytes) -> bytes:
    out, pos = [], 0
    while pos < len(content):
        part = content[pos : pos + rng.choice((1, 7, 100_000, len(content)))]
        pos += len(part)
        out.append(b"%x" % len(part) + rng.choice((b"", b";name=value")) + b"\r\n" + part + b"\r\n")
    return b"".join(out) + b"0\r\n" + rng.choice((b"", b"Trailer: x\r\n")) + b"\r\n"


def _pieces(headers: Message, data: bytes) -> list[bytes]:
    body = Body(headers, io.BytesIO(data))
    found = list(body)
    assert body.ended
    assert all(len(piece) <= CHUNK for piece in found)
    return found


SPOKEN = ("SELECT 1", "SELECT number FROM numbers(100000)", "SELECT * FROM nope", "USE wharf", "SELECT throwIf(1)",
          "INSERT INTO wharf.hostile VALUES", "INSERT INTO wharf.hostile FORMAT CSV\n1,a\n", "SHOW TABLES", "SELEC",
          "SELECT x FROM given")  # fmt: skip
HOST = b"Host: localhost\r\n"
INSERTED = b"user=default&query=INSERT%20INTO%20wharf.hostile%20FORMAT%20CSV"
REQUESTS = (
    b"GET /?query=SELECT%201 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n",
    b"POST /?user=default HTTP/1.1\r\n" + HOST + b"Content-Length: 20\r\n\r\nSELECT 1 FORMAT JSON",
    b"POST /?" + INSERTED + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n1,a\n\r\n0\r\n\r\n",
    b"POST /?param_x=1 HTTP/1.1\r\n" + HOST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
)


def spoken(rng: random.Random) -> bytes:
    """What a client of the native protocol would say, to its end."""
    hello = b"\0" + text("client") + varint(1) + varint(2) + varint(54460) + text(rng.choice(("", "wharf")))
    out = hello + text(rng.choice(("default", "default", "reader"))) + text("")
    for _ in range(rng.randint(1, 3)):
        out += b"\1" + query_packet(sql=rng.choice(SPOKEN), compression=False)
        for _ in range(rng.randint(0, 2)):
            out += b"\2" + text(rng.choice(("", "given"))) + block(rng)
        out += b"\2" + text("") + BLOCK_INFO + b"\0\0"
        out += rng.choice((b"", b"\3", b"\4"))
    return out


def clients(rng: random.Random, inputs: int, port: int, http_port: int) -> None:
    """Each says something damaged or odd, hears what comes, and goes; some go without hearing."""
    for _ in range(inputs):
        is_http = rng.random() < 0.4
        said = b"".join(rng.choice(REQUESTS) for _ in range(rng.randint(1, 2))) if is_http else spoken(rng)
        if rng.random() < 0.9:
            said = damaged(rng, said)
        with socket.create_connection(("127.0.0.1", http_port if is_http else port), timeout=20) as peer:
            try:
                peer.sendall(said)
                if rng.random() < 0.9:
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1 << 16):
                        continue
            except ConnectionError:
                continue
