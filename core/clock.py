"""Time is passed in: pure code gets `now_ms`, edges hold a Clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall clock for what is written down, monotonic clock for deadlines."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class StepClock(SystemClock):
    """The machine's clocks, whose wall clock somebody sets, once: `by_ms` in either direction, `after_s` from now."""

    def __init__(self, after_s: float, by_ms: int) -> None:
        self._at = time.monotonic() + after_s
        self._by_ms = by_ms

    def now_ms(self) -> int:
        return super().now_ms() + (self._by_ms if time.monotonic() >= self._at else 0)


class ManualClock:
    """A clock that moves only when told to, for tests and replays."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._steady_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._steady_ms / 1000

    def advance(self, ms: int) -> None:
        if ms < 0:
            raise ValueError("time does not go backwards")
        self._now_ms += ms
        self._steady_ms += ms

    def step(self, ms: int) -> None:
        """Somebody sets the wall clock, in either direction; no time passes."""
        self._now_ms += ms


class SetBack:
    """Notices that a wall clock was set back, from the times it gives.

    Waits that were reckoned by it would last longer by as much; times of day keep their meaning. What is less than a
    second is no step: such a wait is that much longer. A step forward needs no notice, it only ends waits early.
    """

    STEP_MS = 1_000

    def __init__(self) -> None:
        self._last_ms = 0

    def by(self, now_ms: int) -> int:
        """How far the clock went back since the last time given, 0 when it did not."""
        back = self._last_ms - now_ms
        self._last_ms = now_ms
        return back if back >= self.STEP_MS else 0
