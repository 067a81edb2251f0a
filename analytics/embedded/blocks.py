"""Native blocks: measured by walking their columns, passed on as they are. The wire gives a block no length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from analytics.embedded import types
from analytics.embedded.errors import ProtocolError
from analytics.embedded.wire import Reader, text, varint

# BlockInfo: field 1 is_overflows=0, field 2 bucket_num=-1, end.
BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_INFO_SIZES = {1: 1, 2: 4}
MAX_COLUMNS = 100_000
MAX_ROWS = 1 << 32
# LowCardinality: the index type in the low byte, then flags.
_KEYS_VERSION = 1
_INDEX_WIDTHS = {0: 1, 1: 2, 2: 4, 3: 8}
_GLOBAL_DICTIONARY = 1 << 8
_ADDITIONAL_KEYS = 1 << 9


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Block:
    """`native` is the block in FORMAT Native, without BlockInfo. It counts in its reader's budget until that reads on."""

    columns: tuple[Column, ...]
    rows: int
    native: bytes | bytearray


def _prefixes(reader: Reader, shape: types.Shape) -> None:
    match shape:
        case types.LowCardinality():
            version = reader.u64()
            if version != _KEYS_VERSION:
                raise ProtocolError(f"LowCardinality keys in version {version} are not known")
        case types.Array(inner) | types.Nullable(inner):
            _prefixes(reader, inner)
        case types.Tuple(inners):
            for inner in inners:
                _prefixes(reader, inner)


def _values(reader: Reader, shape: types.Shape, rows: int) -> None:
    match shape:
        case types.Fixed(size):
            reader.skip(size * rows)
        case types.Text():
            reader.skip_strings(rows)
        case types.Nullable(inner):
            reader.skip(rows)
            _values(reader, inner, rows)
        case types.Tuple(inners):
            # An empty Tuple is one byte per row.
            if not inners:
                reader.skip(rows)
            for inner in inners:
                _values(reader, inner, rows)
        case types.Array(inner):
            if rows:
                reader.skip(8 * (rows - 1))
                _values(reader, inner, _count(reader))
        case types.LowCardinality(inner):
            if rows:
                _dictionary(reader, inner, rows)


def _dictionary(reader: Reader, inner: types.Shape, rows: int) -> None:
    flags = reader.u64()
    width = _INDEX_WIDTHS.get(flags & 0xFF)
    if width is None or flags & _GLOBAL_DICTIONARY or not flags & _ADDITIONAL_KEYS:
        raise ProtocolError(f"LowCardinality with flags {flags:#x} is not known")
    _values(reader, inner.inner if isinstance(inner, types.Nullable) else inner, _count(reader))
    if _count(reader) != rows:
        raise ProtocolError("a LowCardinality column has another number of rows than its block")
    reader.skip(width * rows)


def _count(reader: Reader) -> int:
    count = reader.u64()
    if count > MAX_ROWS:
        raise ProtocolError(f"a column claims {count} values")
    return count


def read_block(reader: Reader) -> Block:
    """The next block with its BlockInfo, which leaves the reader."""
    while field := reader.varint():
        size = _INFO_SIZES.get(field)
        if size is None:
            raise ProtocolError(f"field {field} of BlockInfo is not known")
        reader.skip(size)
    reader.drop_consumed()
    return read_native(reader)


def read_native(reader: Reader) -> Block:
    """The next block in FORMAT Native, from where the reader stands."""
    reader.drop_consumed()
    columns, rows = reader.varint(), reader.varint()
    if columns > MAX_COLUMNS or rows > MAX_ROWS:
        raise ProtocolError(f"a block claims {columns} columns and {rows} rows")
    found = []
    for _ in range(columns):
        column = Column(reader.text(), reader.text())
        found.append(column)
        if rows:
            shape = types.shape(column.type)
            _prefixes(reader, shape)
            _values(reader, shape, rows)
    return Block(tuple(found), rows, reader.take_consumed())


def header(columns: tuple[Column, ...]) -> bytes:
    """A Native block of no rows: tells names and types."""
    return varint(len(columns)) + varint(0) + b"".join(text(column.name) + text(column.type) for column in columns)
