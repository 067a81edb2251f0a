"""Which lines of the table `batches` a replayed batch lacks: where those are lost, the audit counts again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from analytics.sink.batches import Batch
from analytics.sink.ledger import Range
from analytics.sink.store import Inserted


def lines(
    batch: Batch, noted: Sequence[tuple[int, int]], rows: Collection[int], poison: Collection[int]
) -> list[Inserted]:
    """One line per run of records that no noted range covers. `rows`: offsets whose row is in the table; `poison`: those that
    cannot have one; the others are copies."""
    out = []
    for run in _runs([record.offset for record in batch.records], noted):
        events = sum(offset in rows for offset in run)
        unreadable = sum(offset in poison for offset in run)
        where = Range(batch.range.topic, batch.range.partition, run[0], run[-1])
        out.append(Inserted(where, len(run), events, len(run) - events - unreadable, unreadable))
    return out


def _runs(offsets: Iterable[int], noted: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Offsets in order that no range covers; a covered one ends a run."""
    out: list[list[int]] = [[]]
    for offset in offsets:
        if any(first <= offset <= last for first, last in noted):
            out.append([])
        else:
            out[-1].append(offset)
    return [run for run in out if run]
