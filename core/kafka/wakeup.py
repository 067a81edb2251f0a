"""Waking the loop's thread from other threads and from signal handlers.

A SimpleQueue, because its `put` may be called in a signal handler while the same thread waits in `get`; an Event may
deadlock there.
"""

from __future__ import annotations

import queue


class Wakeup:
    """`set()` from anywhere; `wait()` and `clear()` from the loop's thread."""

    def __init__(self) -> None:
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_set = False

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self._signals.put(None)

    def clear(self) -> None:
        """Call before looking for work: what is added afterwards sets it again."""
        self._is_set = False
        while not self._signals.empty():
            self._signals.get_nowait()

    def wait(self, seconds: float) -> None:
        """Until set, or that long."""
        try:
            self._signals.get(timeout=seconds)
        except queue.Empty:
            return
        # Taken out above, so put back: `is_set` and the queue agree.
        self._signals.put(None)
