"""Consumed records that wait for the loop: one queue per topic partition, emptied in turns, so that none starves. Pure."""

from __future__ import annotations

from collections import deque

from core.kafka.holdings import Source
from core.kafka.processor import InRecord

# Records of one topic partition taken before the next one has its turn.
TURN = 64


class FairBuffers:
    """Order within a topic partition is kept; between them it is round-robin."""

    def __init__(self) -> None:
        self._queues: dict[Source, deque[InRecord]] = {}
        self._turns: deque[Source] = deque()
        self._count = 0

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
            self._count -= len(self._queues.pop(source))
        self._turns = deque(source for source in self._turns if source in self._queues)
        return gone

    def add(self, source: Source, record: InRecord) -> None:
        queue = self._queues[source]
        if not queue:
            self._turns.append(source)
        queue.append(record)
        self._count += 1

    def take(self, count: int) -> list[InRecord]:
        """Up to `count` records, a few of each topic partition at a time."""
        out: list[InRecord] = []
        while self._turns and len(out) < count:
            source = self._turns.popleft()
            queue = self._queues[source]
            out += [queue.popleft() for _ in range(min(TURN, len(queue), count - len(out)))]
            if queue:
                self._turns.append(source)
        self._count -= len(out)
        return out
