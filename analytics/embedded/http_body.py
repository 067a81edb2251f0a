"""The body of an HTTP request as a stream of bounded pieces: sized or chunked, plain or compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from email.message import Message
from typing import Any, BinaryIO

import lz4.frame

from analytics.embedded.errors import CANNOT_READ_ALL_DATA, UNKNOWN_CODEC, Disconnected, ServerError
from analytics.embedded.wire import CHUNK

_MAX_LINE = 1 << 12
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def pieces(headers: Message, source: BinaryIO) -> Iterator[bytes]:
    """The body, unpacked. A body that ends too early is an error, never a shorter body."""
    raw = _chunked(source) if "chunked" in headers.get("Transfer-Encoding", "").lower() else _sized(headers, source)
    encoding = headers.get("Content-Encoding", "").lower().strip()
    match encoding:
        case "" | "identity":
            return raw
        case "gzip" | "deflate":
            return _inflated(raw)
        case "lz4":
            return _unpacked(raw, lz4.frame.LZ4FrameDecompressor())
    raise ServerError(UNKNOWN_CODEC, f"Content-Encoding {encoding[:40]} is not implemented: use lz4, gzip or none")


def _sized(headers: Message, source: BinaryIO) -> Iterator[bytes]:
    text = headers.get("Content-Length", "0")
    if not text.isdigit():
        raise ServerError(CANNOT_READ_ALL_DATA, f"Content-Length is {text[:40]!r}")
    left = int(text)
    while left:
        piece = source.read(min(left, CHUNK))
        if not piece:
            raise Disconnected
        left -= len(piece)
        yield piece


def _chunked(source: BinaryIO) -> Iterator[bytes]:
    while True:
        line = source.readline(_MAX_LINE)
        try:
            left = int(line.split(b";")[0], 16)
        except ValueError as cause:
            raise Disconnected from cause
        if left <= 0:
            break
        while left:
            piece = source.read(min(left, CHUNK))
            if not piece:
                raise Disconnected
            left -= len(piece)
            yield piece
        source.readline(_MAX_LINE)
    while source.readline(_MAX_LINE).strip():
        continue


def _inflated(raw: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        for packed in raw:
            # No more than a chunk at a time, however well it was packed.
            piece = inflater.decompress(packed, CHUNK)
            while piece:
                yield piece
                piece = inflater.decompress(inflater.unconsumed_tail, CHUNK)
    except zlib.error as cause:
        raise ServerError(CANNOT_READ_ALL_DATA, f"the body cannot be unpacked: {cause}") from cause
    if not inflater.eof:
        raise ServerError(CANNOT_READ_ALL_DATA, "the packed body ends too early")


def _unpacked(raw: Iterator[bytes], unpacker: Any) -> Iterator[bytes]:
    try:
        for packed in raw:
            piece = unpacker.decompress(packed, max_length=CHUNK)
            while piece:
                yield piece
                piece = b"" if unpacker.needs_input or unpacker.eof else unpacker.decompress(b"", max_length=CHUNK)
    except RuntimeError as cause:
        raise ServerError(CANNOT_READ_ALL_DATA, f"the body cannot be unpacked: {cause}") from cause
    if not unpacker.eof:
        raise ServerError(CANNOT_READ_ALL_DATA, "the packed body ends too early")
