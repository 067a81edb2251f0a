"""Batches under way, and which of the steps (analytics.sink.sink) each has behind it. No I/O."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from analytics.sink.batches import Batch, Source
from analytics.sink.decode import Decoded
from analytics.sink.store import Inserted


@dataclass(slots=True)
class Round:
    """`decoded` has those that are being inserted or come next; a batch that is inserted keeps its range and not its records."""

    batches: dict[Source, Batch]
    named: set[Source] = field(default_factory=set)
    may_insert: bool = False
    decoded: dict[Source, Future[Decoded]] = field(default_factory=dict)
    inserted: dict[Source, Inserted] = field(default_factory=dict)
    noted: bool = False

    @property
    def bytes(self) -> int:
        """Of the records that are not inserted yet."""
        return sum(batch.bytes for batch in self.batches.values())

    def waiting(self) -> list[Source]:
        """Those that are not inserted yet, in the order in which they are."""
        return sorted(self.batches.keys() - self.inserted.keys())

    def is_inserted(self, source: Source, inserted: Inserted) -> None:
        self.inserted[source] = inserted
        self.decoded.pop(source, None)
        self.batches[source] = replace(self.batches[source], records=(), bytes=0)

    def drop(self, source: Source) -> None:
        """The partition is somebody else's now."""
        self.batches.pop(source, None)
        self.named.discard(source)
        self.decoded.pop(source, None)
        self.inserted.pop(source, None)
