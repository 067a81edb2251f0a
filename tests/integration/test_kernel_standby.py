"""A standby's copy of the state: exactly what a take-over would read, never a record that was not committed, never stale."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Message, Producer

from core.clock import Clock, ManualClock, SystemClock
from core.kafka.dump import dump
from core.kafka.standby import Standby
from core.kafka.table import read_to_end
from core.kafka.tail import Tail
from core.telemetry.metrics import Metrics
from tests.integration.kernel_support import CLEANED, Bench, Worker, assert_exactly_once, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

ITEMS = 40


@pytest.fixture
def bench(kafka: RunningKafka) -> Bench:
    return Bench(kafka.bootstrap, partitions=2)


# --- the standby by itself -----------------------------------------------------------------------------------------------


@contextmanager
def following(bench: Bench, clock: Clock | None = None) -> Iterator[tuple[Standby, Metrics]]:
    metrics = Metrics()
    topic = bench.prefix + "state"
    standby = Standby(bench.clients, "copy", topic, "copy", clock=clock or SystemClock(), metrics=metrics)
    standby.start(range(bench.partitions))
    try:
        yield standby, metrics
    finally:
        standby.stop()


def at_end(standby: Standby) -> bool:
    rows = standby.rows()
    return bool(rows) and all(row.lag == 0 and row.position is not None for row in rows)


def lent(standby: Standby, bench: Bench, partition: int) -> Tail | None:
    return standby.lend(partition, *bench.state_ends(partition))


def taken_over(standby: Standby, bench: Bench, partition: int) -> dict[bytes, bytes]:
    """What a take-over restores: the copy as it stands, then the log from there on."""
    tail = lent(standby, bench, partition)
    assert tail is not None
    assert tail.position is not None
    items = dict(tail.values)

    def take(message: Message) -> None:
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        items.pop(key, None)
        if isinstance(value, bytes):
            items[key] = value

    topic, end = bench.prefix + "state", bench.state_ends(partition)[1]
    for _ in read_to_end(bench.clients, "test", topic, {partition: tail.position}, {partition: end}, take):
        pass
    return items


def read_whole(bench: Bench, partition: int) -> dict[bytes, bytes]:
    items: dict[bytes, bytes] = {}
    for record in dump(bench.clients, ["state"]):
        if record.partition == partition:
            assert record.key is not None
            items.pop(record.key, None)
            if record.value is not None:
                items[record.key] = record.value
    return items


class Writer:
    """Transactions of random items, some of them aborted; the values of those begin with `no`."""

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self._bench = bench
        self._rng = rng
        self._count = 0
        self.producer = Producer(
            {"bootstrap.servers": bench.bootstrap, "transactional.id": f"{bench.prefix}writer", "linger.ms": 0}
        )
        self.producer.init_transactions(20)

    def begin(self, mark: str) -> None:
        self.producer.begin_transaction()
        for _ in range(self._rng.randrange(1, 20)):
            self._count += 1
            value = None if self._rng.random() < 0.3 else f"{mark}-{self._count}".encode()
            key = b"item%d" % self._rng.randrange(ITEMS)
            self.producer.produce(
                self._bench.prefix + "state", value, key, partition=self._rng.randrange(self._bench.partitions)
            )
        assert self.producer.flush(20) == 0

    def write(self) -> None:
        commits = self._rng.random() < 0.7
        self.begin("yes" if commits else "no")
        (self.producer.commit_transaction if commits else self.producer.abort_transaction)(20)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_the_copy_is_what_a_full_read_gives(bench: Bench, seed: int) -> None:
    """Written to, overwritten, deleted, aborted and cleaned while it is followed; lent and followed again in between."""
    rng = random.Random(seed)
    bench.make_topics(**CLEANED)
    writer = Writer(bench, rng)
    for _ in range(20):
        writer.write()
    with following(bench) as (standby, _):
        for _ in range(8):
            for _ in range(rng.randrange(1, 30)):
                writer.write()
            if rng.random() < 0.5:
                # A take-over that was broken off.
                lent(standby, bench, (partition := rng.randrange(bench.partitions)))
                writer.write()
                standby.follow(partition)
        wait_until(lambda: at_end(standby), 20, "the standby is near the end")
        for partition in range(bench.partitions):
            items = taken_over(standby, bench, partition)
            assert items
            assert list(items.items()) == list(read_whole(bench, partition).items())
            assert not [value for value in items.values() if value.startswith(b"no")]


def test_what_is_not_committed_is_never_in_the_copy(bench: Bench) -> None:
    """An open transaction: nothing of it or after it; after its abort: nothing of it."""
    bench.make_topics()
    writer = Writer(bench, random.Random(5))
    for _ in range(3):
        writer.write()
    before = {partition: read_whole(bench, partition) for partition in range(bench.partitions)}
    with following(bench) as (standby, _):
        writer.begin("no")
        other = bench.clients.producer()
        for partition in range(bench.partitions):
            other.produce(bench.prefix + "state", b"later", b"later", partition=partition)
        assert other.flush(10) == 0
        wait_until(lambda: at_end(standby), 20, "the standby is at the last stable offset")
        tails = [lent(standby, bench, partition) for partition in range(bench.partitions)]
        assert [tail and tail.values for tail in tails] == list(before.values())
        writer.producer.abort_transaction(10)
        for partition in range(bench.partitions):
            standby.follow(partition)
        wait_until(
            lambda: all(tail is not None and b"later" in tail.values for tail in tails), 20, "what came later is read"
        )
        assert [tail and tail.values for tail in tails] == [{**items, b"later": b"later"} for items in before.values()]


def test_a_copy_that_was_away_too_long_starts_again(bench: Bench) -> None:
    """More than half of delete.retention.ms after it was last seen at the end: not lent, and read from the beginning."""
    bench.make_topics(delete_retention_ms=str(3_600_000))
    writer = Writer(bench, random.Random(6))
    writer.write()
    clock = ManualClock(1_000_000)

    def at_end_by_now() -> bool:
        clock.advance(2_000)
        return at_end(standby)

    with following(bench, clock) as (standby, metrics):
        wait_until(at_end_by_now, 20, "the standby is at the end")
        assert lent(standby, bench, 0) is not None
        # Lent for so long that it may not go on where it stood.
        clock.step(1_801_000)
        assert lent(standby, bench, 0) is None
        standby.follow(0)
        wait_until(lambda: at_end_by_now() and b'reason="stale"} 2.0' in metrics.expose(), 20, "both are read again")
        for partition in range(bench.partitions):
            assert taken_over(standby, bench, partition) == read_whole(bench, partition)


def test_a_topic_made_anew_is_not_gone_on_with(bench: Bench) -> None:
    """The copy stands beyond its end: it is of no use, and the log is read."""
    bench.make_topics()
    writer = Writer(bench, random.Random(7))
    for _ in range(10):
        writer.write()
    with following(bench) as (standby, _):
        wait_until(lambda: at_end(standby), 20, "the standby is at the end")
        assert standby.lend(0, 0, 3) is None
        assert standby.lend(1, 10_000, 20_000) is None


def test_memory_of_owned_partitions_is_freed(bench: Bench) -> None:
    bench.make_topics()
    writer = Writer(bench, random.Random(8))
    for _ in range(10):
        writer.write()
    with following(bench) as (standby, metrics):
        wait_until(lambda: at_end(standby), 20, "the standby is at the end")
        assert {row.partition for row in standby.rows()} == {0, 1}
        standby.own(0)
        (row,) = standby.rows()
        assert (row.partition, row.role) == (1, "standby")
        held = sum(len(key) + len(value) for key, value in read_whole(bench, 1).items())
        wait_until(
            lambda: f'wharf_standby_bytes{{processor="copy"}} {held}.0' in metrics.expose().decode(), 20, "bytes"
        )
        assert b'wharf_standby_lag_records{partition="1"' in metrics.expose()
        assert b'wharf_standby_lag_records{partition="0"' not in metrics.expose()


# --- take-overs from it --------------------------------------------------------------------------------------------------


def all_same(workers: list[Worker]) -> bool:
    """What each take-over restored was what its own reading of the log gave."""
    told = [event for worker in workers for event in worker.seen("restored")]
    return bool(told) and all(event["same"] for event in told)


def test_a_takeover_reads_nothing_that_the_standby_has(bench: Bench) -> None:
    bench.make_topics()
    ids = [f"m{number}" for number in range(400)]
    bench.produce("in", ids)
    with closing(owner := bench.worker("owner", items=ITEMS)) as running:
        owner.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) == len(ids), 30, "copied")
        running.append(heir := bench.worker("heir", items=ITEMS, standby=True))
        # One partition moves to the heir at once; the other it follows.
        followed = heir.wait("owned")[0]["partition"] ^ 1
        wait_until(lambda: heir.follows(bench, followed), 20, "the standby is at the end")
        live = len(read_whole(bench, followed))
        owner.kill()
        heir.wait("owned", bench.partitions)
        (claim,) = [claim for claim in heir.logged("claimed") if claim["partitions"] == [followed]]
        assert (claim["from_standby"], claim["from_log"]) == (live, 0)
        assert all_same(running)
        wait_until(
            lambda: [row["role"] for row in heir.roles().values()] == ["owner", "owner"],
            10,
            "nothing is followed any more",
        )
    assert_exactly_once(bench.copies(), ids)


def test_a_partition_that_was_handed_over_is_followed(bench: Bench) -> None:
    """Released to one that joins, taken back when that one is killed: with what it wrote meanwhile."""
    bench.make_topics()
    ids = [f"m{number}" for number in range(300)]
    bench.produce("in", ids[:100])
    with closing(first := bench.worker("first", items=ITEMS, standby=True)) as running:
        first.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) == 100, 30, "copied")
        running.append(second := bench.worker("second", items=ITEMS, standby=True))
        moved = second.wait("owned")[0]["partition"]
        bench.produce("in", ids[100:])
        wait_until(lambda: len(bench.copies()) == len(ids), 30, "copied by both")
        wait_until(
            lambda: first.follows(bench, moved) and second.follows(bench, moved ^ 1), 20, "each follows the other"
        )
        second.kill()
        first.wait("owned", bench.partitions + 1)
        claim = first.logged("claimed")[-1]
        assert claim["partitions"] == [moved]
        assert claim["from_standby"] > 0
        assert claim["from_log"] == 0
        assert all_same(running)
    assert_exactly_once(bench.copies(), ids)


def owners_of_followed(slots: dict[str, Worker]) -> list[Worker]:
    """Owners of partitions of which another one holds a copy."""
    roles = [(worker, partition, row) for worker in slots.values() for partition, row in worker.roles().items()]
    followed = {partition for _, partition, row in roles if row["role"] == "standby" and row["position"]}
    return [worker for worker, partition, row in roles if row["role"] == "owner" and partition in followed]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_takeovers_from_standbys_are_exact_under_kills(bench: Bench, seed: int) -> None:
    """Three slots under load, killed, stopped and paused at random; each restored state is compared with the log."""
    rng = random.Random(seed)
    bench.make_topics(**CLEANED)
    ids: list[str] = []

    def all_copied() -> bool:
        # A slot that was fenced ends; whoever watches over it starts it again.
        for slot, worker in slots.items():
            if worker.seen("fenced") and not worker.alive:
                slots[slot] = start(slot)
        return len(bench.copies()) >= len(ids)

    def start(slot: str) -> Worker:
        faults = {"abort_commits": sorted(rng.sample(range(1, 60), 8))}
        worker = bench.worker(slot, items=ITEMS, standby=True, faults=faults)
        everybody.append(worker)
        return worker

    with closing() as everybody:
        slots = {slot: start(slot) for slot in ("a", "b", "c")}
        slots["a"].wait("started")
        wait_until(lambda: sum(len(worker.seen("owned")) for worker in everybody) >= bench.partitions, 30, "owned")
        for _ in range(3):
            more = [f"m{len(ids) + number}" for number in range(rng.randrange(20, 200))]
            ids += more
            bench.produce("in", more)
            what = rng.choice(["kill", "stop", "leave it dead", "leave it dead"])
            owners = [
                slot for slot, worker in slots.items() if "owner" in {row["role"] for row in worker.roles().values()}
            ]
            slot = rng.choice(owners or sorted(slots))
            if what == "stop":
                assert slots[slot].stop() == 0
            else:
                slots[slot].kill()
            if what == "leave it dead":
                wait_until(all_copied, 60, "the others copy everything")
            slots[slot] = start(slot)
            wait_until(all_copied, 60, "copied")
        assert all_same(everybody)
        # A last one that is certain to be taken over from a standby.
        wait_until(lambda: owners_of_followed(slots), 30, "a partition is owned and followed")[0].kill()
        wait_until(
            lambda: any(claim["from_standby"] for worker in everybody for claim in worker.logged("claimed")),
            30,
            "taken over from a standby",
        )
        assert all_same(everybody)
    assert_exactly_once(bench.copies(), ids)
