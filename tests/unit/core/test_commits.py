"""What came of a transaction whose end was open counts for the batch it carried, and for no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from core.clock import ManualClock
from core.kafka.commits import Commits
from core.kafka.holdings import Payload
from core.kafka.pace import Pace
from core.kafka.processor import Batch, OutRecord, PartitionWork
from core.kafka.transaction import Aborted, Away, Left, Transactions
from core.telemetry.metrics import Metrics


class Scripted:
    """In place of Transactions: `ends` are those of `run`, `settles` those of `settle`."""

    def __init__(self, ends: Sequence[str], settles: Sequence[bool] = ()) -> None:
        self._ends = list(ends)
        self._settles = list(settles)
        self.unsettled = False
        self.committed: list[bytes | None] = []
        self._pending: list[bytes | None] = []
        self.offsets_sent = 0.0

    def run(
        self, records: Sequence[OutRecord], _offsets: object, _metadata: object, _left: Left, *, work: bool
    ) -> None:
        assert not self.unsettled
        self._pending = [record.value for record in records]
        end = self._ends.pop(0)
        if end in ("ILLEGAL_GENERATION", "_TIMED_OUT"):
            raise Aborted(end)
        if end == "away":
            self.unsettled = True
            raise Away
        self.committed += self._pending

    def settle(self, _left: Left) -> bool:
        if not self._settles:
            raise Away
        self.unsettled = False
        if not (committed := self._settles.pop(0)):
            return False
        self.committed += self._pending
        return committed


def commits(transactions: Scripted) -> Commits:
    return Commits(
        cast(Transactions, transactions), object, "copy", clock=ManualClock(), metrics=Metrics(), pace=Pace()
    )


def test_only_a_commit_that_says_that_this_process_goes_on_confirms_it() -> None:
    kafka = Scripted(["ok", "ILLEGAL_GENERATION", "away", "ok", "ok"], [True])
    confirmed: list[float] = []
    given = Commits(
        cast(Transactions, kafka),
        object,
        "copy",
        clock=ManualClock(),
        metrics=Metrics(),
        pace=Pace(),
        on_confirmed=confirmed.append,
    )
    kafka.offsets_sent = 7.0
    assert given.commit("claim", Payload([], []), left)
    kafka.offsets_sent = 8.0
    assert not given.commit("keepalive", Payload([], []), left)
    assert not given.commit("keepalive", Payload([], []), left)
    assert given.commit("keepalive", Payload([], []), left)
    kafka.offsets_sent = 9.0
    assert given.commit("release", Payload([], []), left)
    assert confirmed == [7.0, 8.0]
    assert given.confirmed == 8.0


def batch(value: bytes) -> Batch:
    return {0: PartitionWork([OutRecord("out", None, value)])}


def payload(of: Batch) -> Payload:
    return Payload([record for work in of.values() for record in work.records], [])


def left() -> float:
    return 1.0


def test_work_that_was_committed_after_all_is_not_produced_again() -> None:
    kafka = Scripted(["away"], [True])
    given, work = commits(kafka), batch(b"w")
    assert not given.work(work, lambda: payload(work), left)
    assert given.work(work, lambda: payload(work), left)
    assert kafka.committed == [b"w"]


def test_a_release_that_was_committed_after_all_does_not_count_for_the_work_after_it() -> None:
    kafka = Scripted(["away", "ok"], [True])
    given, work = commits(kafka), batch(b"w")
    assert not given.commit("release", Payload([OutRecord("out", None, b"release")], []), left)
    assert given.work(work, lambda: payload(work), left)
    assert kafka.committed == [b"release", b"w"]


def test_a_release_after_an_aborted_batch_does_not_count_for_it() -> None:
    kafka = Scripted(["ILLEGAL_GENERATION", "away", "ok"], [True])
    given, work = commits(kafka), batch(b"w")
    assert not given.work(work, lambda: payload(work), left)
    assert not given.commit("release", Payload([OutRecord("out", None, b"release")], []), left)
    assert given.work(work, lambda: payload(work), left)
    assert kafka.committed == [b"release", b"w"]


def test_work_settled_by_a_keep_alive_is_not_produced_again() -> None:
    kafka = Scripted(["away", "ok"], [True])
    given, work = commits(kafka), batch(b"w")
    assert not given.work(work, lambda: payload(work), left)
    assert given.commit("keepalive", Payload([], []), left)
    assert given.work(work, lambda: payload(work), left)
    assert kafka.committed == [b"w"]


def test_work_that_was_not_committed_is_produced_again_whole() -> None:
    kafka = Scripted(["away", "ok"], [False])
    given, work = commits(kafka), batch(b"w")
    assert not given.work(work, lambda: payload(work), left)
    assert given.work(work, lambda: payload(work), left)
    assert kafka.committed == [b"w"]


def test_nothing_begins_while_an_end_is_open() -> None:
    kafka = Scripted(["away"])
    given, work = commits(kafka), batch(b"w")
    assert not given.work(work, lambda: payload(work), left)
    assert not given.work(work, lambda: payload(work), left)
    assert not given.commit("release", Payload([], []), left)
    assert given.trouble == "Kafka does not answer"


def test_only_the_groups_own_abort_says_that_the_slot_is_not_fenced() -> None:
    """Kafka looks at the producer first, at the member after it."""
    given = commits(Scripted(["_TIMED_OUT", "ILLEGAL_GENERATION", "away"]))
    told = []
    for _ in range(3):
        assert not given.commit("keepalive", Payload([], []), left)
        told.append(given.by_the_group)
    assert told == [False, True, False]
