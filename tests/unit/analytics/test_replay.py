"""What a replay reads, which lines of the audit it adds, how it says how far it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.replay import audit, progress
from analytics.replay.scope import Part, part
from analytics.sink.batches import Batch
from analytics.sink.ledger import Range
from core.kafka.processor import InRecord

SOURCE = ("results", 0)
OFFSETS = st.integers(0, 60)


@pytest.mark.parametrize(
    ("asked", "kept", "position", "expected"),
    [
        ((0, 100), (0, 100), 100, Part(*SOURCE, 0, 100)),
        ((0, 100), (40, 100), 100, Part(*SOURCE, 40, 100, gone=40)),
        ((10, 30), (40, 100), 100, Part(*SOURCE, 40, 40, gone=20)),
        ((0, 100), (0, 100), 70, Part(*SOURCE, 0, 70, left=30)),
        ((80, 100), (0, 100), 70, Part(*SOURCE, 80, 80, left=20)),
        ((0, 100), (0, 100), 0, Part(*SOURCE, 0, 0, left=100)),
        ((20, 50), (0, 100), 70, Part(*SOURCE, 20, 50)),
        ((200, 300), (0, 100), 70, Part(*SOURCE, 200, 200)),
    ],
)
def test_what_is_read_of_a_partition(
    asked: tuple[int, int], kept: tuple[int, int], position: int, expected: Part
) -> None:
    assert part(SOURCE, asked, kept, position) == expected


@settings(deadline=None)
@given(OFFSETS, OFFSETS, OFFSETS, OFFSETS, OFFSETS)
def test_each_offset_asked_for_is_read_gone_or_left_and_none_of_the_sinks_is_read(
    start: int, length: int, low: int, kept: int, done: int
) -> None:
    end, high = start + length, low + kept
    position = min(done, high)
    made = part(SOURCE, (start, end), (low, high), position)
    read = set(range(made.first, made.last))
    assert read == {offset for offset in range(start, end) if low <= offset < min(high, position)}
    assert made.gone == len(set(range(start, end)) & set(range(low)))
    assert made.left == len(set(range(start, end)) & set(range(max(low, position), high)))


def batch(*offsets: int) -> Batch:
    records = tuple(InRecord(*SOURCE, offset, 0, b"i", b"v") for offset in offsets)
    return Batch(Range(*SOURCE, offsets[0], offsets[-1]), records)


def test_only_runs_that_no_line_covers_get_a_line() -> None:
    made = audit.lines(batch(0, 1, 2, 5, 6, 9, 10), [(2, 4), (9, 9)], rows={0, 5}, poison={6})
    told = [(one.batch.first, one.batch.last, one.records, one.events, one.duplicates, one.poison) for one in made]
    assert told == [(0, 1, 2, 1, 1, 0), (5, 6, 2, 1, 0, 1), (10, 10, 1, 0, 1, 0)]
    assert audit.lines(batch(0, 1), [(0, 5)], set(), set()) == []


@settings(deadline=None)
@given(st.sets(OFFSETS, min_size=1), st.lists(st.tuples(OFFSETS, OFFSETS)), st.sets(OFFSETS), st.sets(OFFSETS))
def test_lines_count_each_uncovered_record_once(
    offsets: set[int], ranges: list[tuple[int, int]], rows: set[int], poison: set[int]
) -> None:
    noted = [(low, high) for low, high in ranges if low <= high]
    made = audit.lines(batch(*sorted(offsets)), noted, rows - poison, poison)
    free = {offset for offset in offsets if not any(low <= offset <= high for low, high in noted)}
    assert sum(one.records for one in made) == len(free)
    assert sum(one.events for one in made) == len(free & (rows - poison))
    assert sum(one.poison for one in made) == len(free & poison)
    assert all(one.records == one.events + one.duplicates + one.poison for one in made)


def test_progress_tells_share_rate_and_rest() -> None:
    assert progress.line(250, 1000, 200, 2.0) == "250 of 1,000 offsets (25 %), 100 records/s, 6 s left"
    assert progress.line(0, 0, 0, 0.0) == "0 of 0 offsets (0 %)"
    assert [progress.span(seconds) for seconds in (0.2, 59.6, 200, 7500)] == [
        "0 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
