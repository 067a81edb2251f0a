"""Consume, state and produce are one: whatever kills a process and whenever, every record is copied once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.integration.kernel_support import Bench, Worker, assert_exactly_once, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until


@pytest.fixture
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=4)
    bench.make_topics()
    return bench


def test_copies_and_stops_in_order(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(200)]
    bench.produce("in", ids)
    with closing(worker := bench.worker("a")):
        wait_until(lambda: len(bench.copies()) == len(ids), 30, "copied")
        assert worker.stop() == 0
    assert len(worker.seen("revoked")) == bench.partitions
    assert_exactly_once(bench.copies(), ids)


def test_side_topics_are_inputs_too(bench: Bench) -> None:
    bench.produce("in", [f"i{number}" for number in range(40)])
    bench.produce("side", [f"s{number}" for number in range(40)])
    ids = [f"{kind}{number}" for kind in "is" for number in range(80)]
    with closing() as running:
        running.append(worker := bench.worker("a", side=True))
        wait_until(lambda: len(bench.copies()) == 80, 30, "the first half")
        worker.kill()
        bench.produce("in", [f"i{number}" for number in range(40, 80)])
        bench.produce("side", [f"s{number}" for number in range(40, 80)])
        running.append(bench.worker("a", side=True))
        wait_until(lambda: len(bench.copies()) >= 160, 30, "the second half")
    assert_exactly_once(bench.copies(), ids)


class Supervised:
    """Two slots whose processes are started again when they end fenced: an heir fences a slot, not one run of it."""

    def __init__(self, bench: Bench, running: list[Worker]) -> None:
        self._bench = bench
        self.running = running
        self.running += [bench.worker("a"), bench.worker("b")]

    def revive(self) -> None:
        for index, worker in enumerate(self.running):
            if not worker.alive:
                worker.exit_code()
                assert worker.seen("fenced"), "".join(worker.log)
                self.replace(index, worker.slot)

    def replace(self, index: int, slot: str) -> None:
        self.running[index].close()
        self.running[index] = self._bench.worker(slot)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        def revived() -> bool:
            self.revive()
            return condition()

        wait_until(revived, seconds, what)


def test_kills_and_rebalances_lose_and_double_nothing(bench: Bench) -> None:
    rng = random.Random(7)
    ids = [f"m{number}" for number in range(6000)]
    done = threading.Event()

    def feed() -> None:
        for at in range(0, len(ids), 100):
            bench.produce("in", ids[at : at + 100])
            done.wait(rng.uniform(0, 0.1))

    feeder = threading.Thread(target=feed)
    with closing() as running:
        slots = Supervised(bench, running)
        feeder.start()
        for round_number in range(6):
            victim = rng.randrange(2)
            slots.until(lambda: bool(running[victim].seen("owned")), 40, "ownership")  # noqa: B023
            # Somewhere in a later transaction; once there is nothing to feed, while idle.
            want = len(running[victim].seen("committed")) + rng.randrange(1, 4)
            slots.until(
                lambda: len(running[victim].seen("committed")) >= want or not feeder.is_alive(),  # noqa: B023
                40,
                "transactions",
            )
            done.wait(rng.uniform(0, 0.05))
            running[victim].kill()
            # Each third time the slot is gone for good and another takes its place.
            slots.replace(victim, running[victim].slot + ("" if round_number % 3 else "x"))
        feeder.join()
        slots.until(lambda: len(bench.copies()) >= len(ids), 60, "everything copied")
    assert_exactly_once(bench.copies(), ids)


@pytest.mark.parametrize("point", ["before_begin", "before_commit", "after_commit"])
def test_a_crash_at_any_point_of_a_transaction(bench: Bench, point: str) -> None:
    ids = [f"m{number}" for number in range(50)]
    with closing() as running:
        running.append(crashing := bench.worker("a", faults={"crash": {"point": point, "nth": 2}}))
        crashing.wait("owned", bench.partitions)
        bench.produce("in", ids[:25])
        wait_until(lambda: bench.copies() or not crashing.alive, 20, "the first transaction")
        bench.produce("in", ids[25:])
        assert crashing.exit_code() == -9
        running.append(bench.worker("a"))
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "everything copied")
    assert_exactly_once(bench.copies(), ids)


def test_an_abort_sends_the_same_batch_again(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(60)]
    with closing(worker := bench.worker("a", faults={"abort_commits": [1, 2, 4]})):
        for at in range(0, 60, 20):
            bench.produce("in", ids[at : at + 20])
            wait_until(lambda: len(bench.copies()) >= at + 20, 20, "copied")  # noqa: B023
        assert worker.stop() == 0
    assert len(worker.logged("transaction_aborted")) == 3
    assert not worker.seen("dropped")
    assert_exactly_once(bench.copies(), ids)
