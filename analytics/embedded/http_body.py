"""The body of an HTTP request as a stream of bounded pieces: sized or chunked, plain or compressed.

A body that ends too early is an error, never a shorter body.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any, BinaryIO, Final

import lz4.frame

from analytics.embedded.errors import CANNOT_READ_ALL_DATA, UNKNOWN_CODEC, Disconnected, ServerError
from analytics.embedded.wire import CHUNK

_MAX_LINE: Final = 1 << 12
_MAX_TRAILERS: Final = 100
_MAX_DIGITS: Final = 18
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class Body:
    """Iterate over it for the content. `ended` when nothing of it is left in the connection, `taken` when all of the
    content was."""

    def __init__(self, headers: Message, source: BinaryIO) -> None:
        self._source = source
        length = headers.get("Content-Length", "0")
        is_chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self.ended = self.taken = not is_chunked and length == "0"
        raw = self._chunked() if is_chunked else self._sized(length)
        self._content = iter(()) if self.ended else _unpacked(headers.get("Content-Encoding", "").lower().strip(), raw)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._content)
        except StopIteration:
            self.taken = True
            raise

    def head(self, least: int) -> bytes:
        """So many bytes of the content, or all of it where it has fewer; more where a piece is larger."""
        out = bytearray()
        for piece in self:
            out += piece
            if len(out) >= least:
                break
        return bytes(out)

    def _sized(self, length: str) -> Iterator[bytes]:
        if not (length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS):
            raise ServerError(CANNOT_READ_ALL_DATA, f"Content-Length is {length[:40]!r}")
        yield from self._exactly(int(length))
        self.ended = True

    def _chunked(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._exactly(size)
            if self._source.readline(_MAX_LINE).strip():
                raise ServerError(CANNOT_READ_ALL_DATA, "a chunk is longer than it says")
        for _ in range(_MAX_TRAILERS):
            if not self._source.readline(_MAX_LINE).strip():
                self.ended = True
                return
        raise ServerError(CANNOT_READ_ALL_DATA, f"more than {_MAX_TRAILERS} trailers")

    def _chunk_size(self) -> int:
        line = self._source.readline(_MAX_LINE)
        if not line:
            raise Disconnected
        digits = line.split(b";")[0].strip()
        if not digits or len(digits) > _MAX_DIGITS or not _HEX.issuperset(digits):
            raise ServerError(CANNOT_READ_ALL_DATA, f"a chunk's size is {digits[:40]!r}")
        return int(digits, 16)

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._source.read(min(left, CHUNK))
            if not piece:
                raise Disconnected
            left -= len(piece)
            yield piece


def _unpacked(encoding: str, raw: Iterator[bytes]) -> Iterator[bytes]:
    match encoding:
        case "" | "identity":
            return raw
        case "gzip" | "deflate":
            return _unpack(raw, _Inflate)
        case "lz4":
            return _unpack(raw, _Lz4)
    raise ServerError(UNKNOWN_CODEC, f"Content-Encoding {encoding[:40]} is not implemented: use lz4, gzip or none")


class _Inflate:
    """One gzip member or zlib stream."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def is_whole(self) -> bool:
        return self._inner.eof

    @property
    def behind(self) -> bytes:
        return self._inner.unused_data

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What becomes of it, no more than a chunk at a time, however well it was packed."""
        while piece := self._inner.decompress(packed, CHUNK):
            yield piece
            if self._inner.eof:
                # What is left is `behind`, and would be added to it again.
                return
            packed = self._inner.unconsumed_tail


class _Lz4:
    """One frame."""

    def __init__(self) -> None:
        self._inner: Any = lz4.frame.LZ4FrameDecompressor()

    @property
    def is_whole(self) -> bool:
        return bool(self._inner.eof)

    @property
    def behind(self) -> bytes:
        return self._inner.unused_data or b""

    def feed(self, packed: bytes) -> Iterator[bytes]:
        while piece := self._inner.decompress(packed, max_length=CHUNK):
            yield piece
            if self._inner.needs_input or self._inner.eof:
                return
            packed = b""


def _unpack(raw: Iterator[bytes], make: Callable[[], _Inflate | _Lz4]) -> Iterator[bytes]:
    """The content of all members or frames, which may stand one behind the other."""
    unpacker = make()
    try:
        for packed in raw:
            while packed:
                if unpacker.is_whole:
                    unpacker = make()
                yield from unpacker.feed(packed)
                packed = unpacker.behind if unpacker.is_whole else b""
    except (zlib.error, RuntimeError) as cause:
        raise ServerError(CANNOT_READ_ALL_DATA, f"the body cannot be unpacked: {cause}") from cause
    if not unpacker.is_whole:
        raise ServerError(CANNOT_READ_ALL_DATA, "the packed body ends too early")
