"""Packets of the native protocol, read from clients and written to them, in the revision that we speak.

Below revision 54454 a block is BlockInfo and exactly FORMAT Native, so nothing is transcoded; 54440 also has settings as
texts. Older clients send settings in binary, by their type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from analytics.embedded.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, ProtocolError, ServerError
from analytics.embedded.wire import Reader, text, varint

REVISION: Final = 54440
OLDEST_REVISION: Final = 54372
_WITH_PATCH = 54401
_WITH_WRITTEN_ROWS = 54420
_WITH_TEXT_SETTINGS = 54429
MAX_QUERY: Final = 16 << 20
MAX_SETTINGS: Final = 2_000
MAX_SETTING: Final = 1 << 20
_SECONDARY = 2
_TCP = 1
_COMPLETE = 2


class FromClient(IntEnum):
    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4


class FromServer(IntEnum):
    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_INFO = 6


@dataclass(frozen=True, slots=True)
class Hello:
    client: str
    revision: int
    database: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    query_id: str
    settings: dict[str, str]
    compressed: bool
    sql: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a query has read and written so far."""

    read_rows: int = 0
    read_bytes: int = 0
    total_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0

    def since(self, before: Counts) -> Counts:
        """What came to it; nothing goes back."""
        return Counts(
            max(0, self.read_rows - before.read_rows),
            max(0, self.read_bytes - before.read_bytes),
            max(0, self.total_rows - before.total_rows),
            max(0, self.written_rows - before.written_rows),
            max(0, self.written_bytes - before.written_bytes),
        )


def read_hello(reader: Reader) -> Hello:
    """The first packet; its kind is read already."""
    client = reader.text()
    reader.varint(), reader.varint()
    revision = reader.varint()
    hello = Hello(client, min(revision, REVISION), reader.text(), reader.text(), reader.text())
    if revision < OLDEST_REVISION:
        raise ProtocolError(
            f"the client's protocol revision {revision} is older than {OLDEST_REVISION}", NOT_IMPLEMENTED
        )
    return hello


def _skip_client_info(reader: Reader, revision: int) -> None:
    kind = reader.u8()
    if kind == 0:
        return
    if kind == _SECONDARY:
        raise ProtocolError("this server takes no part in distributed queries", NOT_IMPLEMENTED)
    for _ in ("user", "query id", "address"):
        reader.text()
    if reader.u8() != _TCP:
        raise ProtocolError("only the native interface is spoken here", NOT_IMPLEMENTED)
    for _ in ("user of the system", "host", "client"):
        reader.text()
    for _ in ("major", "minor", "revision"):
        reader.varint()
    reader.text()
    if revision >= _WITH_PATCH:
        reader.varint()


def _read_settings(reader: Reader, revision: int, type_of: Callable[[str], str | None]) -> dict[str, str]:
    settings: dict[str, str] = {}
    while name := reader.text():
        if len(settings) >= MAX_SETTINGS:
            raise ProtocolError(f"more than {MAX_SETTINGS} settings")
        if revision >= _WITH_TEXT_SETTINGS:
            reader.varint()
            settings[name] = reader.text(MAX_SETTING)
        else:
            settings[name] = _read_binary_setting(reader, name, type_of(name))
    return settings


# How an old client writes a setting: numbers as integers of variable length, all else as a text.
_NUMBERS = ("UInt", "Int", "Bool", "NonZeroUInt", "MaxThreads", "Seconds", "Milliseconds")


def _read_binary_setting(reader: Reader, name: str, kind: str | None) -> str:
    if kind is None:
        raise ProtocolError(f"an old client sent the setting {name}, which this version does not have", NOT_IMPLEMENTED)
    return str(reader.varint()) if kind.startswith(_NUMBERS) else reader.text(MAX_SETTING)


def read_query(reader: Reader, revision: int, type_of: Callable[[str], str | None], most: int = MAX_QUERY) -> Query:
    """A query without the blocks that follow it, no longer than `most`; its kind is read already."""
    query_id = reader.text()
    _skip_client_info(reader, revision)
    settings = _read_settings(reader, revision, type_of)
    stage = reader.varint()
    compressed = reader.varint()
    sql = _read_sql(reader, most)
    if stage != _COMPLETE:
        raise ProtocolError(f"queries are run to the end here, not to stage {stage}", NOT_IMPLEMENTED)
    if compressed > 1:
        raise ProtocolError(f"{compressed} stands where compression is switched on or off")
    return Query(query_id, settings, compressed == 1, sql)


def _read_sql(reader: Reader, most: int) -> str:
    size = reader.varint()
    if size > most:
        raise ProtocolError(f"the query has {size} bytes, the most is {most} (SYNTAX_ERROR)", SYNTAX_ERROR)
    return reader.raw(size).decode("utf-8", "surrogateescape")


def hello(revision: int, name: str, version: tuple[int, int, int]) -> bytes:
    parts = [
        varint(FromServer.HELLO),
        text("ClickHouse"),
        varint(version[0]),
        varint(version[1]),
        varint(REVISION),
        text("UTC"),
        text(name),
    ]
    if revision >= _WITH_PATCH:
        parts.append(varint(version[2]))
    return b"".join(parts)


def exception(error: ServerError) -> bytes:
    """Code, name, text, no stack trace, nothing nested."""
    code = struct.pack("<i", error.code)
    return (
        varint(FromServer.EXCEPTION) + code + text("DB::Exception") + text(f"DB::Exception: {error.message}") + b"\0\0"
    )


def progress(counts: Counts, revision: int) -> bytes:
    out = varint(FromServer.PROGRESS) + varint(counts.read_rows) + varint(counts.read_bytes) + varint(counts.total_rows)
    if tells_written_rows(revision):
        out += varint(counts.written_rows) + varint(counts.written_bytes)
    return out


def tells_written_rows(revision: int) -> bool:
    return revision >= _WITH_WRITTEN_ROWS


def profile_info(rows: int, blocks: int, size: int) -> bytes:
    """No limit was applied and nothing was counted before one."""
    return varint(FromServer.PROFILE_INFO) + varint(rows) + varint(blocks) + varint(size) + b"\0" + varint(0) + b"\0"


PONG: Final = varint(FromServer.PONG)
END_OF_STREAM: Final = varint(FromServer.END_OF_STREAM)
# Data with an empty table name; the block follows.
DATA: Final = varint(FromServer.DATA) + text("")
