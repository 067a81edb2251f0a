"""A round lets go of records as they are inserted, keeps their ranges, and forgets partitions that went to somebody else."""

from __future__ import annotations

from concurrent.futures import Future

from analytics.sink.batches import Batch, Source
from analytics.sink.decode import Decoded
from analytics.sink.ledger import Range
from analytics.sink.round import Round
from analytics.sink.store import Inserted
from core.kafka.processor import InRecord

A, B = ("events.message", 0), ("results", 3)


def batch(source: Source) -> Batch:
    return Batch(Range(*source, 5, 6), tuple(InRecord(*source, offset, 0, b"k", b"xyz") for offset in (5, 6)), 8)


def a_round() -> Round:
    work = Round({B: batch(B), A: batch(A)}, named={A, B})
    work.decoded[A] = Future[Decoded]()
    return work


def test_what_is_inserted_keeps_its_range_and_not_its_records() -> None:
    work = a_round()
    assert (work.waiting(), work.bytes) == ([A, B], 16)
    work.is_inserted(A, Inserted(work.batches[A].range, 2, 2, 0, 0))
    assert (work.waiting(), work.bytes) == ([B], 8)
    assert (work.batches[A].range, work.batches[A].records) == (Range(*A, 5, 6), ())
    assert work.decoded == {}


def test_a_lost_partition_leaves_nothing_behind() -> None:
    work = a_round()
    work.drop(A)
    work.drop(A)
    assert (work.waiting(), work.named, work.decoded, work.inserted) == ([B], {B}, {}, {})
