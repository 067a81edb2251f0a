"""Batches and their ledger: whatever comes in whatever portions, and wherever it is cut off, every record is in one batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.sink import ledger
from analytics.sink.batches import Batch, Limits, Partition
from analytics.sink.ledger import Range, to_replay
from core.errors import DBError
from core.kafka.processor import InRecord

TOPIC = "events.message"
LIMITS = Limits(records=5, bytes=100, wait_s=2.0)


def record(offset: int, size: int = 1) -> InRecord:
    return InRecord(TOPIC, 3, offset, 0, b"k", b"x" * size)


def drain(held: Partition, now: float) -> list[Batch]:
    out = []
    while held.due(now) and (batch := held.take()) is not None:
        out.append(batch)
    return out


# Offsets of a partition with gaps, as transactions leave them.
offsets = st.lists(st.integers(1, 3), min_size=1, max_size=60).map(
    lambda steps: [sum(steps[: n + 1]) for n in range(len(steps))]
)


@given(offsets, st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(0, 40))
def test_batches_are_the_records_in_order_each_once(places: list[int], sizes: list[int], portion: int) -> None:
    held = Partition(LIMITS)
    batches: list[Batch] = []
    for number, offset in enumerate(places):
        held.add(record(offset, sizes[number % len(sizes)]), now=0.0)
        if portion and number % portion == 0:
            batches += drain(held, 0.0)
    batches += drain(held, LIMITS.wait_s)
    assert [one.offset for batch in batches for one in batch.records] == places
    for batch in batches:
        assert (batch.range.first, batch.range.last) == (batch.records[0].offset, batch.records[-1].offset)
        assert len(batch.records) <= LIMITS.records
        assert batch.bytes == sum(len(r.value or b"") + 1 for r in batch.records)
        assert len(batch.records) == 1 or sum(len(r.value or b"") + 1 for r in batch.records[:-1]) < LIMITS.bytes
    assert held.bytes == len(held) == 0


@given(offsets, st.data())
def test_a_named_range_is_filled_again_with_the_same_records(places: list[int], data: st.DataObject) -> None:
    """The process died after it named a range; the next one reads from its first offset, with other limits."""
    first = data.draw(st.integers(0, len(places) - 1))
    last = data.draw(st.integers(first, len(places) - 1))
    named = Range(TOPIC, 3, places[first], places[last])
    metadata = ledger.pending(named).metadata
    held = Partition(Limits(2, 10, 0.0), to_replay(TOPIC, 3, named.first, metadata))
    before: list[Batch] = []
    for offset in places[first:]:
        if offset <= named.last:
            before += drain(held, 1e9)
        held.add(record(offset), now=0.0)
    assert before == [], "not before it is complete"
    batches = drain(held, 1e9)
    assert batches[0].range == named
    assert batches[0].replayed
    assert batches[0].bytes == sum(len(r.value or b"") + 1 for r in batches[0].records)
    assert [one.offset for one in batches[0].records] == places[first : last + 1]
    assert [one.offset for batch in batches[1:] for one in batch.records] == places[last + 1 :]


def test_a_batch_waits_until_it_is_full_or_old() -> None:
    held = Partition(LIMITS)
    assert not held.due(1e9)
    held.add(record(1), now=10.0)
    assert not held.due(11.9)
    assert held.due(12.0)
    for offset in range(2, 6):
        held.add(record(offset), now=10.0)
    assert held.due(10.0)


def test_a_named_range_that_retention_removed_is_empty_and_done() -> None:
    held = Partition(LIMITS, Range(TOPIC, 3, 10, 20))
    held.reached(15)
    assert not held.due(1e9)
    held.reached(21)
    assert held.due(0.0)
    batch = held.take()
    assert batch is not None
    assert (batch.range, batch.records) == (Range(TOPIC, 3, 10, 20), ())
    assert held.take() is None


def test_the_ledger_says_what_is_pending_and_nothing_after_done() -> None:
    named = Range(TOPIC, 3, 10, 20)
    pending, done = ledger.pending(named), ledger.done(named)
    assert named.token == "events.message-3-10-20"
    assert (pending.position, done.position) == (10, 21)
    assert to_replay(TOPIC, 3, pending.position, pending.metadata) == named
    assert to_replay(TOPIC, 3, done.position, done.metadata) is None
    passed = ledger.passed(25)
    assert (passed.position, to_replay(TOPIC, 3, 25, passed.metadata)) == (25, None)


@pytest.mark.parametrize("metadata", [None, "", "somebody's note", '{"t":"claim"}', "[1]", "7"])
def test_marks_of_others_leave_nothing_pending(metadata: str | None) -> None:
    assert to_replay(TOPIC, 3, 7, metadata) is None


@pytest.mark.parametrize(
    "metadata",
    [
        '{"by":"sink","t":"pending","first":8,"last":9}',
        '{"by":"sink","t":"pending","first":7}',
        '{"by":"sink","t":"pending","first":7,"last":6}',
        '{"by":"sink","t":"later","first":7,"last":9}',
        '{"by":"sink"}',
    ],
)
def test_a_mark_of_ours_that_cannot_be_followed_stops_the_sink(metadata: str) -> None:
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        to_replay(TOPIC, 3, 7, metadata)


def test_what_comes_after_the_last_record_needs_no_storing() -> None:
    held = Partition(LIMITS)
    held.add(record(7), now=0.0)
    # The reader is at the end, behind a control record; the record is not stored yet.
    held.reached(9)
    assert held.position(3) == 3
    assert held.position(8) == 9
    held.add(record(12), now=0.0)
    assert held.position(8) == 8
