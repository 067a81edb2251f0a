"""Consumed records that wait for the loop: one queue per topic partition, emptied in turns, so that none starves. Pure."""

from __future__ import annotations

from collections import deque

from core.kafka.holdings import Source
from core.kafka.processor import InRecord

# Records of one topic partition taken before the next one has its turn.
TURN = 64


def _size(record: InRecord) -> int:
    return len(record.key or b"") + len(record.value or b"")


class FairBuffers:
    """Order within a topic partition is kept; between them it is round-robin."""

    def __init__(self) -> None:
        self._queues: dict[Source, deque[InRecord]] = {}
        self._turns: deque[Source] = deque()
        self._count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, source: Source) -> bool:
        return source in self._queues

    def open(self, source: Source) -> None:
        self._queues[source] = deque()

    def close(self, partition: int) -> list[Source]:
        """Forget everything of a partition; gives the sources it had."""
        gone = [source for source in self._queues if source[1] == partition]
        for source in gone:
            forgotten = self._queues.pop(source)
            self._count -= len(forgotten)
            self.bytes -= sum(map(_size, forgotten))
        self._turns = deque(source for source in self._turns if source in self._queues)
        return gone

    def add(self, source: Source, record: InRecord) -> None:
        queue = self._queues[source]
        if not queue:
            self._turns.append(source)
        queue.append(record)
        self._count += 1
        self.bytes += _size(record)

    def take(self, count: int, max_bytes: int) -> list[InRecord]:
        """Up to `count` records, a few of each topic partition at a time; the one that passes `max_bytes` is the last."""
        out: list[InRecord] = []
        taken = 0
        while self._turns and len(out) < count and taken < max_bytes:
            source = self._turns.popleft()
            queue = self._queues[source]
            for _ in range(min(TURN, len(queue), count - len(out))):
                out.append(queue.popleft())
                taken += _size(out[-1])
                if taken >= max_bytes:
                    break
            if queue:
                self._turns.append(source)
        self._count -= len(out)
        self.bytes -= taken
        return out
