"""Frames of the socket pair: a big-endian uint32 length, then one protobuf message (host.proto, first lines)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_FRAME = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The other side breaks the protocol: the connection ends."""


def frame(body: bytes) -> bytes:
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every frame that is complete now. Raises FrameError on a length that cannot be."""
        buffer = self._buffer
        buffer += data
        at = 0
        end = len(buffer)
        while end - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            start = at + _LENGTH.size
            if end - start < length:
                break
            yield bytes(buffer[start : start + length])
            at = start + length
        del buffer[:at]
