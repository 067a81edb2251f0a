"""Primitives of the native protocol: a bounded window over incoming bytes, and the encodings of what goes out.

A reader never holds more than its budget allows, whatever lengths the peer claims.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator

from analytics.embedded.errors import MEMORY_LIMIT_EXCEEDED, Disconnected, ProtocolError, ServerError

CHUNK = 1 << 18
MAX_VARINT_SHIFT = 63
# Names, ids, settings, passwords; a query has a limit of its own.
MAX_TEXT = 1 << 16

_U64 = struct.Struct("<Q")


class Budget:
    """Bytes that all connections together may hold. What does not fit is refused, so nobody waits for somebody who waits."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._lock = threading.Lock()

    def take(self, amount: int) -> None:
        with self._lock:
            if self.used + amount > self.total:
                raise ServerError(
                    MEMORY_LIMIT_EXCEEDED,
                    f"the blocks of all clients would exceed {self.total} bytes: send smaller ones",
                )
            self.used += amount

    def give(self, amount: int) -> None:
        with self._lock:
            self.used -= amount

    @contextlib.contextmanager
    def lent(self, amount: int) -> Iterator[None]:
        """So much for as long as the `with` lasts."""
        self.take(amount)
        try:
            yield
        finally:
            self.give(amount)


class Reader:
    """`pos` moves through `buf`, which grows from `fill`; `take_consumed` cuts off what has been read. That counts as held
    until the next thing is read: by then its taker is done with it."""

    def __init__(self, fill: Callable[[], bytes], budget: Budget, limit: int) -> None:
        self._fill = fill
        self._budget = budget
        self._limit = limit
        self._held = 0
        self._taken = 0
        self.buf = bytearray()
        self.pos = 0

    def more(self) -> None:
        """At least one more byte in the window."""
        if len(self.buf) >= self._limit:
            raise ServerError(MEMORY_LIMIT_EXCEEDED, f"a block is larger than {self._limit} bytes: send smaller ones")
        chunk = self._fill()
        if not chunk:
            raise Disconnected
        self._budget.take(len(chunk))
        self._held += len(chunk)
        self.buf += chunk

    def _release(self) -> None:
        surplus = self._held - self._taken - len(self.buf)
        self._held -= surplus
        self._budget.give(surplus)

    def take_consumed(self) -> bytearray:
        """What was read since the last call, which leaves the window without being copied."""
        rest = self.buf[self.pos :]
        del self.buf[self.pos :]
        taken, self.buf, self.pos = self.buf, rest, 0
        self._taken = len(taken)
        self._release()
        return taken

    def drop_consumed(self) -> None:
        self._taken = 0
        del self.buf[: self.pos]
        self.pos = 0
        self._release()

    def close(self) -> None:
        self.buf.clear()
        self.drop_consumed()

    @property
    def buffered(self) -> int:
        return len(self.buf) - self.pos

    def need(self, count: int) -> None:
        if self.pos + count > self._limit:
            raise ServerError(MEMORY_LIMIT_EXCEEDED, f"a block is larger than {self._limit} bytes: send smaller ones")
        while len(self.buf) - self.pos < count:
            self.more()

    def skip(self, count: int) -> None:
        self.need(count)
        self.pos += count

    def raw(self, count: int) -> bytes:
        self.need(count)
        start, self.pos = self.pos, self.pos + count
        return bytes(memoryview(self.buf)[start : self.pos])

    def u8(self) -> int:
        self.need(1)
        self.pos += 1
        return self.buf[self.pos - 1]

    def u64(self) -> int:
        self.need(8)
        self.pos += 8
        value: int = _U64.unpack_from(self.buf, self.pos - 8)[0]
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > MAX_VARINT_SHIFT:
                raise ProtocolError("a variable-length integer has more than 64 bits")

    def text(self, most: int = MAX_TEXT) -> str:
        length = self.varint()
        if length > most:
            raise ProtocolError(f"a text of {length} bytes stands where at most {most} are allowed")
        return self.raw(length).decode("utf-8", "surrogateescape")

    def skip_strings(self, count: int) -> None:
        """The hot loop of an insert: one step per string, no object made."""
        buf, pos = self.buf, self.pos
        while count:
            try:
                length = buf[pos]
                if length < 128:
                    pos += length + 1
                else:
                    at, shift, byte = pos, 7, length
                    length &= 127
                    while byte > 127:
                        at += 1
                        byte = buf[at]
                        length |= (byte & 127) << shift
                        shift += 7
                        if shift > MAX_VARINT_SHIFT + 7:
                            raise ProtocolError("a variable-length integer has more than 64 bits")
                    pos = at + 1 + length
                count -= 1
            except IndexError:
                # Everything before `pos` is inside the block; the string at `pos` needs bytes that are not here yet.
                if pos > self._limit:
                    raise ServerError(
                        MEMORY_LIMIT_EXCEEDED, f"a block is larger than {self._limit} bytes: send smaller ones"
                    ) from None
                self.more()
        self.pos = pos
        self.need(0)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str | bytes) -> bytes:
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return varint(len(data)) + data
