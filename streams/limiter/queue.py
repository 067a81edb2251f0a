"""The held commands of one instance, in the order they leave: by the time they became due, then by offset.

Two lines: commands that need the session, and those that pass an offline instance. Within a line nobody overtakes, so
the order per chat is kept. Entries that left otherwise (cancelled, expired) are skipped when they come to the front.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from streams.limiter.command import PASSING
from streams.limiter.items import Held


class HeldQueue:
    """All its commands wait for one generation of the instance, or all for one that is not known yet."""

    def __init__(self) -> None:
        self._held: dict[bytes, Held] = {}
        self._sends: list[tuple[int, int, bytes]] = []
        self._passing: list[tuple[int, int, bytes]] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[bytes]:
        """Digests in the order they leave."""
        return iter(sorted(self._held, key=lambda digest: (self._held[digest].due_ms, self._held[digest].offset)))

    def get(self, digest: bytes) -> Held | None:
        return self._held.get(digest)

    def generation(self) -> int | None:
        """The generation its commands wait for; None when there are none, or none is known."""
        return next((held.generation for held in self._held.values()), None)

    def put(self, digest: bytes, held: Held) -> None:
        """Add a command, or replace what is known of it; its place stays."""
        former = self._held.get(digest)
        self._held[digest] = held
        self.size += held.size - (former.size if former is not None else 0)
        if former is None or (former.due_ms, former.offset) != (held.due_ms, held.offset):
            heapq.heappush(self._line(held), (held.due_ms, held.offset, digest))

    def pop(self, digest: bytes) -> Held:
        held = self._held.pop(digest)
        self.size -= held.size
        if not self._held:
            # Nothing but entries to be skipped is left in the lines.
            self._sends.clear()
            self._passing.clear()
        return held

    def first_send(self) -> bytes | None:
        return self._first(self._sends)

    def first_passing(self) -> bytes | None:
        return self._first(self._passing)

    def _line(self, held: Held) -> list[tuple[int, int, bytes]]:
        return self._passing if held.type in PASSING else self._sends

    def _first(self, line: list[tuple[int, int, bytes]]) -> bytes | None:
        while line:
            due_ms, offset, digest = line[0]
            held = self._held.get(digest)
            if held is not None and (held.due_ms, held.offset) == (due_ms, offset):
                return digest
            heapq.heappop(line)
        return None
