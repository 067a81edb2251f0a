"""One partition of a compacted topic in memory, as far as its committed records were read. Pure.

The newest value of each key, in the order in which those stand in the log, tombstones applied: what a compacted log
would say. A tail that was last known to be at the end longer ago than it may be is stale: compaction may have removed
tombstones that it never read, so it starts again (design, section 5).
"""

from __future__ import annotations

from typing import NamedTuple

from core.clock import Clock


class Instant(NamedTuple):
    """By both clocks: one stands still while a machine sleeps, the other can be set."""

    steady: float
    wall_ms: int

    @classmethod
    def of(cls, clock: Clock) -> Instant:
        return cls(clock.monotonic(), clock.now_ms())

    def seconds_to(self, later: Instant) -> float:
        """By the clock that says more."""
        return max(later.steady - self.steady, (later.wall_ms - self.wall_ms) / 1000)


class Tail:
    """`position` is the next offset, None before anything was read: from the first record there is."""

    def __init__(self, now: Instant) -> None:
        self.values: dict[bytes, bytes] = {}
        self.bytes = 0
        self.position: int | None = None
        self.end: int | None = None
        # A tail without anything is right before the first record, at any time.
        self._current = now
        self._next: tuple[int, Instant] | None = None

    def apply(self, key: object, value: object, offset: int) -> None:
        """The next committed record."""
        if isinstance(key, bytes):
            before = self.values.pop(key, None)
            if before is not None:
                self.bytes -= len(key) + len(before)
            if isinstance(value, bytes):
                # At the end: the order is that of the newest records.
                self.values[key] = value
                self.bytes += len(key) + len(value)
        self.reached(offset + 1)

    def reached(self, offset: int) -> None:
        """Everything committed before that offset was read; control records are passed in this way only."""
        if self.position is None or offset > self.position:
            self.position = offset
        if self._next is not None and self.position >= self._next[0]:
            self._current, self._next = self._next[1], None

    def measured(self, end: int, asked: Instant) -> None:
        """The end of what is committed, as it stood when it was asked for."""
        self.end = end
        if self.position is not None and self.position >= end:
            self._current, self._next = asked, None
        elif self._next is None:
            # Not replaced by a newer one: a tail that follows at some distance would never get there.
            self._next = (end, asked)

    @property
    def lag(self) -> int | None:
        """Committed records, control records among them, that it has not read."""
        return None if self.end is None else max(0, self.end - (self.position or 0))

    def stale(self, now: Instant, allowed_s: float) -> bool:
        return self._current.seconds_to(now) > allowed_s

    def serves(self, first: int, end: int) -> bool:
        """Whether the log goes on where this ends; not when it lost records, or was made anew."""
        return self.position is not None and first <= self.position <= end
