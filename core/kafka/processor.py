"""What a stream processor is, as the transactional loop sees it.

One loop (`core.kafka.loop.TransactionLoop`) drives every processor: registrar, limiter, connector. The processor decides,
the loop does all Kafka I/O. Work is kept apart per input partition, so that a partition lost in a rebalance takes only
its own records out of the batch and the rest is produced again unchanged (facts/kafka.md, section 1, rule 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class InRecord:
    """One consumed record. `timestamp_ms` is the broker's (LogAppendTime) or the producer's, as the topic is set."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record to produce. `partition=None` lets murmur2 of the key decide; `value=None` is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(slots=True)
class PartitionWork:
    """What one input partition contributes to a transaction.

    `positions` holds the next offset to consume per (topic, partition) of the processor's inputs; empty = unchanged.
    """

    records: list[OutRecord] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)


Batch: TypeAlias = dict[int, PartitionWork]


class Processor(Protocol):
    """Called by the loop from one thread only; no method is called while another runs.

    Topic names are those of the topic table, without the prefix, everywhere a processor sees or gives one: only the
    loop knows the prefix.

    Attributes
    ----------
    name: consumer group and metric label, e.g. `limiter`.
    input_topic: the co-partitioned topic whose assignment decides which partitions this process owns.
    side_topics: further co-partitioned inputs of the same partitions, read from their committed position, from the
        beginning the first time.
    table_topics: co-partitioned compacted topics, read to their end before `owned` and followed afterwards; they have
        no position.
    state_topic: compacted topic replayed at take-over, or None. Keys that begin with a zero byte are the loop's own
        (owner marks, position) and are not shown.

    Life of a partition: restore* table* owned (collect committed | dropped)* then revoked or lost. After `lost` the same
    partition may come back and starts again with restore: when Kafka was away too long the loop gives up what it could
    not commit and reads the committed state again.
    """

    @property
    def name(self) -> str: ...
    @property
    def input_topic(self) -> str: ...
    @property
    def side_topics(self) -> Sequence[str]: ...
    @property
    def table_topics(self) -> Sequence[str]: ...
    @property
    def state_topic(self) -> str | None: ...

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None:
        """One state record at take-over, oldest first; `value=None` is a tombstone. Decryption or decoding errors raise."""

    def table(self, record: InRecord) -> None:
        """One record of a table topic: to the end before `owned`, then as they come, each before the next `collect`."""

    def owned(self, partition: int, positions: dict[tuple[str, int], int]) -> None:
        """The partition is claimed and its state restored; `positions` are where its inputs go on."""

    def revoked(self, partition: int) -> None:
        """The partition is being handed over; what is not committed is dropped. Must return at once."""

    def lost(self, partition: int) -> None:
        """The partition is somebody else's or cannot be committed: drop everything of it at once, effects on the outside
        included. Also called for a take-over that did not come to its end."""

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        """Turn newly consumed records, and whatever else is ready, into work. No Kafka I/O here.

        Called also with no records: after `wakeup()` of the loop, and about every 50 ms. An empty batch means nothing to
        commit. Every record given is taken over by the processor: it appears in `positions` of this or a later batch.
        Records larger than the topic's limit are the processor's to cut, chunk or reject: the loop stops on them.
        """

    def committed(self, partitions: Sequence[int]) -> None:
        """The transaction with the batch of these partitions is committed: effects that rest on it may happen."""

    def dropped(self, partition: int) -> None:
        """The partition's work in the batch in flight is given up by this process; `revoked` or `lost` follows."""
