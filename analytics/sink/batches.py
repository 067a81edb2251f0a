"""When a partition's records become a batch, and which. Pure: no clients, times passed in.

A batch is a run of a partition's records in order. Its bounds are free until they are named (analytics.sink.ledger); a range
that was named before is filled with exactly its records before anything else of that partition.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from analytics.sink.ledger import Range
from core.kafka.processor import InRecord

Source = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """A batch is due with so many records or bytes, or when its first one has waited so long."""

    records: int
    bytes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Batch:
    """`replayed`: it was named by an earlier incarnation, which may have inserted it. `bytes` are those of its records."""

    range: Range
    records: tuple[InRecord, ...]
    bytes: int = 0
    replayed: bool = False

    @property
    def source(self) -> Source:
        return self.range.topic, self.range.partition


@dataclass(slots=True)
class Partition:
    """What was read of one partition and is in no batch yet."""

    limits: Limits
    replay: Range | None = None
    _waiting: deque[tuple[InRecord, float]] = field(default_factory=deque)
    _bytes: int = 0
    _replay_complete: bool = False
    # After the last record that came in, and what the reader has passed.
    _next: int = 0
    _passed: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        return self._bytes

    def add(self, record: InRecord, now: float) -> None:
        """Records come in order."""
        self._waiting.append((record, now))
        self._bytes += _size(record)
        self._next = record.offset + 1
        if self.replay is not None and record.offset >= self.replay.last:
            self._replay_complete = True

    def reached(self, position: int) -> None:
        """The reader passed everything below that offset: what a named range still lacks is not in the log any more."""
        self._passed = position
        if self.replay is not None and position > self.replay.last:
            self._replay_complete = True

    def position(self, done: int) -> int:
        """Where it stands when everything below `done` is stored: control records and aborted ones need no storing."""
        return max(done, self._passed) if done >= self._next else done

    def due(self, now: float) -> bool:
        if self.replay is not None:
            return self._replay_complete
        if not self._waiting:
            return False
        full = len(self._waiting) >= self.limits.records or self._bytes >= self.limits.bytes
        return full or now - self._waiting[0][1] >= self.limits.wait_s

    def take(self) -> Batch | None:
        """The next batch; None where a named range has no records left."""
        if self.replay is not None:
            return self._take_replay(self.replay)
        records: list[InRecord] = []
        size = 0
        while self._waiting and len(records) < self.limits.records and (not records or size < self.limits.bytes):
            record = self._pop()
            size += _size(record)
            records.append(record)
        if not records:
            return None
        first = records[0]
        named = Range(first.topic, first.partition, first.offset, records[-1].offset)
        return Batch(named, tuple(records), size)

    def _take_replay(self, named: Range) -> Batch:
        records: list[InRecord] = []
        while self._waiting and self._waiting[0][0].offset <= named.last:
            records.append(self._pop())
        self.replay = None
        return Batch(named, tuple(records), sum(map(_size, records)), replayed=True)

    def _pop(self) -> InRecord:
        record, _ = self._waiting.popleft()
        self._bytes -= _size(record)
        return record


def _size(record: InRecord) -> int:
    return len(record.value or b"") + len(record.key or b"")
