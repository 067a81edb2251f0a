"""Compressed blocks: frames of checksum, method, two sizes and a body, on both directions of a connection."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from analytics.embedded.errors import CHECKSUM_DOESNT_MATCH, UNKNOWN_CODEC, ProtocolError
from analytics.embedded.wire import Budget, Reader

NONE: Final = 0x02
LZ4: Final = 0x82
ZSTD: Final = 0x90
# Checksum, then method and sizes; the compressed size counts these nine bytes.
_CHECKSUM = struct.Struct("<QQ")
_SIZES = struct.Struct("<BII")
MAX_FRAME: Final = 1 << 27
_OUT = 1 << 20
_LOW = (1 << 64) - 1


def checksum(data: bytes) -> bytes:
    value = CityHash128(data)
    return _CHECKSUM.pack(value >> 64, value & _LOW)


def read_frame(reader: Reader, budget: Budget) -> bytes:
    """The next frame's content. `budget` lends what unpacking takes beside the reader's window."""
    reader.drop_consumed()
    expected = reader.raw(_CHECKSUM.size)
    method, packed, size = _SIZES.unpack(reader.raw(_SIZES.size))
    if not _SIZES.size <= packed <= MAX_FRAME or size > MAX_FRAME:
        raise ProtocolError(f"a compressed frame claims {packed} and {size} bytes, the most is {MAX_FRAME}")
    reader.skip(packed - _SIZES.size)
    reader.pos -= packed
    with budget.lent(packed + size):
        frame = reader.raw(packed)
        reader.drop_consumed()
        if checksum(frame) != expected:
            raise ProtocolError("checksum of a compressed frame does not match", CHECKSUM_DOESNT_MATCH)
        return _unpacked(method, memoryview(frame)[_SIZES.size :], size)


def _unpacked(method: int, body: memoryview, size: int) -> bytes:
    if method == NONE:
        return bytes(body)
    if method != LZ4:
        name = "ZSTD" if method == ZSTD else f"{method:#x}"
        raise ProtocolError(f"compression {name} is not implemented by this server, use LZ4", UNKNOWN_CODEC)
    try:
        return bytes(lz4.block.decompress(body, uncompressed_size=size))
    except (lz4.block.LZ4BlockError, ValueError) as cause:
        raise ProtocolError(f"a compressed frame cannot be unpacked: {cause}", CHECKSUM_DOESNT_MATCH) from cause


def write_frames(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _OUT):
        part = data[start : start + _OUT]
        body = lz4.block.compress(part, store_size=False)
        frame = _SIZES.pack(LZ4, len(body) + _SIZES.size, len(part)) + body
        yield checksum(frame) + frame
