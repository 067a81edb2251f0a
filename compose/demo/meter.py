"""Rates and latencies of what passed lately. Pure: times are given in."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 10.0
KEPT = 2000


class Meter:
    """Counts what passes, and how long each took where that is known."""

    def __init__(self) -> None:
        self.total = 0
        self._times: deque[float] = deque()
        self._took: deque[float] = deque(maxlen=KEPT)

    def add(self, at: float, seconds: float | None = None) -> None:
        self.total += 1
        self._times.append(at)
        if seconds is not None:
            self._took.append(seconds)

    def rate(self, now: float) -> float:
        """Per second, over the last ten seconds."""
        while self._times and self._times[0] < now - WINDOW_SECONDS:
            self._times.popleft()
        return len(self._times) / WINDOW_SECONDS

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of the latest took at most."""
        ordered = sorted(self._took)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
