"""A take-over that is broken off anywhere is taken over in turn; without its fence or its wait the hole is there."""

from __future__ import annotations

import signal

import pytest

from core.kafka.dump import dump
from core.kafka.marks import OWNER_KEY
from tests.integration.kernel_support import Bench, Predecessor, assert_exactly_once, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

POINTS = (
    pytest.param("before_fence", marks=pytest.mark.long),
    "after_fence",
    pytest.param("after_committed", marks=pytest.mark.long),
    "after_restore",
    pytest.param("after_claim", marks=pytest.mark.long),
)


@pytest.fixture
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics()
    return bench


@pytest.fixture
def predecessor(bench: Bench) -> Predecessor:
    bench.produce("in", [f"m{number}" for number in range(20)])
    return Predecessor(bench)


@pytest.mark.parametrize("point", POINTS)
def test_a_takeover_killed_at_any_point_is_taken_over(bench: Bench, point: str) -> None:
    ids = [f"m{number}" for number in range(60)]
    bench.produce("in", ids[:20])
    with closing(first := bench.worker("first")) as running:
        wait_until(lambda: bench.copies(), 20, "the first copies")
        first.kill()
        running.append(dying := bench.worker("second", faults={"crash": {"point": point}}))
        bench.produce("in", ids[20:40])
        assert dying.exit_code() == -signal.SIGKILL
        running.append(heir := bench.worker("third"))
        bench.produce("in", ids[40:])
        heir.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "everything copied")
    assert_exactly_once(bench.copies(), ids)


@pytest.mark.parametrize("point", POINTS)
def test_a_takeover_paused_at_any_point_never_claims_later(bench: Bench, point: str) -> None:
    """It stands still for longer than its session; another takes over; then it goes on, and ends without a record."""
    ids = [f"m{number}" for number in range(60)]
    bench.produce("in", ids[:20])
    with closing(first := bench.worker("first")) as running:
        wait_until(lambda: bench.copies(), 20, "the first copies")
        first.kill()
        running.append(paused := bench.worker("second", faults={"crash": {"point": point, "signal": "STOP"}}))
        wait_until(lambda: paused.stopped, 30, f"standing still at {point}")
        running.append(heir := bench.worker("third"))
        heir.wait("owned", bench.partitions)
        bench.produce("in", ids[20:40])
        wait_until(lambda: len(bench.copies()) >= 40, 30, "copied by the heir")
        paused.signal(signal.SIGCONT)
        bench.produce("in", ids[40:])
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "everything copied")
    assert_exactly_once(bench.copies(), ids)


def test_a_release_that_the_group_was_not_told_of(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(40)]
    bench.produce("in", ids[:20])
    with closing(first := bench.worker("first", faults={"crash": {"point": "after_release"}})) as running:
        wait_until(lambda: len(bench.copies()) == 20, 20, "the first copies")
        assert first.stop() == -signal.SIGKILL
        running.append(heir := bench.worker("second"))
        bench.produce("in", ids[20:])
        heir.wait("owned", bench.partitions)
        assert not heir.logged("takeover_fences")
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "everything copied")
    assert_exactly_once(bench.copies(), ids)


def test_the_mutant_without_the_wait_lets_a_former_owner_write_after_the_claim(
    bench: Bench, predecessor: Predecessor
) -> None:
    predecessor.begin(metadata="")
    predecessor.leave()
    with closing(heir := bench.worker("h", faults={"mutants": ["committed"]})):
        owned = heir.wait("owned", bench.partitions)
        assert [event["count"] for event in owned] == [0, 0]
        predecessor.producer.commit_transaction(10)
        state = [record for record in dump(bench.clients, ["state"]) if record.partition == 0]
        claim = next(record for record in state if record.key == OWNER_KEY and b'"slot":"h"' in (record.value or b""))
        assert b"7" in [record.value for record in state if record.offset > claim.offset]


def test_the_mutant_without_the_fence_waits_for_the_former_owner(bench: Bench, predecessor: Predecessor) -> None:
    predecessor.claim()
    predecessor.begin(metadata="")
    predecessor.leave()
    with closing(heir := bench.worker("h", faults={"mutants": ["fence"]})):
        wait_until(lambda: heir.logged("assigned"), 20, "assigned")
        with pytest.raises(AssertionError):
            heir.wait("owned", seconds=2.5)
        predecessor.producer.commit_transaction(10)
        assert [event["count"] for event in heir.wait("owned", bench.partitions)] == [7, 7]
