"""A slot that is removed for good hands everything over at once, whatever became of its process."""

from __future__ import annotations

import pytest

from core.clock import SystemClock
from core.errors import DBError
from core.kafka.leaving import Processing, leave
from core.settings import KafkaSettings
from tests.integration.kernel_support import Bench, assert_exactly_once, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

NAMES = Processing("copy", "in", (), "state")
# Far longer than the test waits: nobody's place is lost by time-out.
STAYS_MS = 30_000
IDS = [f"m{number}" for number in range(60)]


@pytest.fixture
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics()
    return bench


def leaves(bench: Bench, slot: str) -> bool:
    return leave(NAMES, bench.settings, slot, clock=SystemClock())


def members(bench: Bench) -> set[str]:
    group = bench.prefix + "copy"
    admin = bench.clients.admin()
    described = admin.describe_consumer_groups([group])[group].result()
    return {member.group_instance_id for member in described.members}


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_others_get_everything_at_once(bench: Bench, how: str) -> None:
    """Released by the one that leaves, so that nobody has to be fenced; no time-out is waited for."""
    bench.produce("in", IDS[:20])
    with closing(first := bench.worker("first", session_timeout_ms=STAYS_MS)) as running:
        first.wait("owned", bench.partitions)
        running.append(second := bench.worker("second", session_timeout_ms=STAYS_MS))
        second.wait("owned")
        if how == "stopped":
            assert first.stop() == 0
        else:
            first.kill()
        bench.produce("in", IDS[20:])
        assert leaves(bench, "first")
        second.wait("owned", bench.partitions, seconds=20)
        assert not second.logged("takeover_fences")
        assert members(bench) == {"second"}
        wait_until(lambda: len(bench.copies()) >= len(IDS), 30, "everything copied")
    assert_exactly_once(bench.copies(), IDS)


def test_a_slot_that_the_group_has_forgotten_takes_nothing_from_the_others(bench: Bench) -> None:
    bench.produce("in", IDS)
    with closing(first := bench.worker("first")) as running:
        first.wait("owned", bench.partitions)
        first.kill()
        running.append(second := bench.worker("second"))
        second.wait("owned", bench.partitions)
        wait_until(lambda: members(bench) == {"second"}, 20, "the first is forgotten")
        assert not leaves(bench, "first")
        assert not second.seen("revoked")
        assert members(bench) == {"second"}


def test_the_last_slot_leaves_its_releases_behind(bench: Bench) -> None:
    """Nobody is there to take over: who comes later has nobody to fence."""
    bench.produce("in", IDS)
    with closing(first := bench.worker("first", session_timeout_ms=STAYS_MS)) as running:
        first.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) >= len(IDS), 30, "everything copied")
        first.kill()
        assert leaves(bench, "first")
        assert members(bench) == set()
        running.append(second := bench.worker("second"))
        second.wait("owned", bench.partitions)
        assert not second.logged("takeover_fences")
    assert_exactly_once(bench.copies(), IDS)


def test_a_process_that_still_runs_under_the_slot_ends(bench: Bench) -> None:
    with closing(first := bench.worker("first")) as running:
        first.wait("owned", bench.partitions)
        assert leaves(bench, "first")
        assert first.exit_code(20) == 3
        assert running


def test_a_leave_without_kafka_says_so() -> None:
    nowhere = KafkaSettings(bootstrap="127.0.0.1:9", prefix="x.", external=True)
    with pytest.raises(DBError, match=r"db\.kafka_unavailable"):
        leave(NAMES, nowhere, "first", clock=SystemClock(), seconds=1)
