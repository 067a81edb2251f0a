"""Single transactions: the flush before the offsets, aborts, sizes, and the renewal of a producer that is stuck."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from core.errors import APIError, Fenced
from core.faults import Faults
from core.kafka import transaction
from core.kafka.dump import dump
from core.kafka.loop import TransactionLoop
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.kafka.transaction import Aborted, Transactions
from core.settings import Settings
from core.topics import MAX_RECORD_BYTES
from tests.integration.kernel_support import Bench
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

PARTITIONS = 8
ROUNDS = 300


@pytest.fixture(scope="module")
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=PARTITIONS)
    bench.make_topics()
    return bench


def ten_seconds() -> float:
    return 10.0


def join(bench: Bench, group: str) -> Consumer:
    """A member that has its partitions; leaving and joining again makes its old metadata stale."""
    assigned: list[TopicPartition] = []
    member = bench.clients._consumer(bench.prefix + group, session_timeout_ms=6000)
    member.subscribe([bench.prefix + "in"], on_assign=lambda _consumer, entries: assigned.extend(entries))
    wait_until(lambda: member.poll(0.05) or len(assigned) == PARTITIONS, 30, "assigned")
    return member


@pytest.fixture
def stale_and_good(bench: Bench, request: pytest.FixtureRequest) -> Iterator[tuple[object, object]]:
    group = f"group-{request.node.name}"
    first = join(bench, group)
    stale = first.consumer_group_metadata()
    first.close()
    second = join(bench, group)
    yield stale, second.consumer_group_metadata()
    second.close()


def rounds(bench: Bench, name: str, faults: Faults, stale: object, good: object) -> tuple[int, list[str]]:
    """Transactions with records that fail for their stale metadata, each followed by a good one: (committed, failures)."""
    transactions = Transactions(lambda: bench.clients.transactional_producer(bench.prefix + name), bench.prefix, faults)
    transactions.start(ten_seconds)
    offsets = [TopicPartition(bench.prefix + "in", 0, 1)]
    rng = random.Random(1)
    committed, failures = 0, []
    for number in range(ROUNDS):
        records = [OutRecord("out", None, b"%d" % number * 20, partition=partition) for partition in range(PARTITIONS)]
        if rng.random() < 0.5:
            with pytest.raises(Aborted):
                transactions.run(records, offsets, stale, ten_seconds, work=True)
        try:
            transactions.run(records, offsets, good, ten_seconds, work=True)
            committed += 1
        except Aborted as cause:
            failures.append(cause.reason)
    return committed, failures


def test_a_failed_transaction_does_not_harm_the_next(bench: Bench, stale_and_good: tuple[object, object]) -> None:
    committed, failures = rounds(bench, "flushed", Faults(), *stale_and_good)
    assert (committed, failures) == (ROUNDS, [])


def test_without_the_flush_the_next_transaction_fails(bench: Bench, stale_and_good: tuple[object, object]) -> None:
    """The mutant: what the flush before the offsets is for."""
    _committed, failures = rounds(bench, "unflushed", Faults(mutants=frozenset({"flush"})), *stale_and_good)
    assert "OUT_OF_ORDER_SEQUENCE_NUMBER" in failures


def test_nothing_of_an_aborted_transaction_is_visible(bench: Bench, stale_and_good: tuple[object, object]) -> None:
    stale, good = stale_and_good
    transactions = Transactions(
        lambda: bench.clients.transactional_producer(bench.prefix + "visible"), bench.prefix, Faults()
    )
    transactions.start(ten_seconds)
    offsets = [TopicPartition(bench.prefix + "in", 0, 1)]
    with pytest.raises(Aborted):
        transactions.run([OutRecord("side", b"k", b"aborted")], offsets, stale, ten_seconds, work=True)
    transactions.run([OutRecord("side", b"k", b"kept", (("h", b"1"),))], offsets, good, ten_seconds, work=True)
    found = list(dump(bench.clients, ["side"]))
    assert [(record.value, record.headers) for record in found] == [(b"kept", (("h", b"1"),))]


def test_the_older_of_two_producers_is_fenced(bench: Bench, stale_and_good: tuple[object, object]) -> None:
    _stale, good = stale_and_good
    old, new = (
        Transactions(lambda: bench.clients.transactional_producer(bench.prefix + "twice"), bench.prefix, Faults())
        for _ in range(2)
    )
    offsets = [TopicPartition(bench.prefix + "in", 0, 1)]
    old.start(ten_seconds)
    new.start(ten_seconds)
    new.run([], offsets, good, ten_seconds, work=False)
    with pytest.raises(Fenced):
        old.run([], offsets, good, ten_seconds, work=False)


class HangingProducer:
    """A real producer whose send_offsets_to_transaction does not return, as librdkafka's may after a broker's restart."""

    def __init__(self, real: Producer, release: threading.Event) -> None:
        self._real = real
        self._release = release

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def send_offsets_to_transaction(self, *_args: object) -> None:
        self._release.wait(60)


def test_a_stuck_producer_is_replaced(
    bench: Bench, stale_and_good: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    _stale, good = stale_and_good
    monkeypatch.setattr(transaction, "_STUCK_S", 0.2)
    release = threading.Event()
    made: list[object] = []
    started = False

    def make() -> Producer:
        real = bench.clients.transactional_producer(bench.prefix + "stuck")
        made.append(real)
        return real if started else HangingProducer(real, release)  # type: ignore[return-value]

    transactions = Transactions(make, bench.prefix, Faults())
    # A start may take more than one.
    transactions.start(ten_seconds)
    started, before = True, len(made)
    offsets = [TopicPartition(bench.prefix + "in", 1, 5)]
    record = OutRecord("tab", b"k", b"once", partition=1)
    try:
        with pytest.raises(Aborted, match="STUCK"):
            transactions.run([record], offsets, good, ten_seconds, work=True)
        transactions.run([record], offsets, good, ten_seconds, work=True)
    finally:
        release.set()
    assert len(made) == before + 1
    assert [found.value for found in dump(bench.clients, ["tab"])] == [b"once"]


class Oversize:
    """Answers each record with one that is too large for its topic."""

    name = "oversize"
    input_topic = "in"
    side_topics: Sequence[str] = ()
    table_topics: Sequence[str] = ()
    state_topic = None

    def __init__(self) -> None:
        self.gone: list[int] = []

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None: ...
    def table(self, record: InRecord) -> None: ...
    def owned(self, partition: int, positions: dict[tuple[str, int], int]) -> None: ...
    def revoked(self, partition: int) -> None: ...
    def committed(self, partitions: Sequence[int]) -> None: ...
    def dropped(self, partition: int) -> None: ...

    def lost(self, partition: int) -> None:
        self.gone.append(partition)

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        return {
            record.partition: PartitionWork(
                [OutRecord("out", b"fits", b"1"), OutRecord("out", b"k", bytes(MAX_RECORD_BYTES))],
                {("in", record.partition): record.offset + 1},
            )
            for record in records
        }


def test_an_oversized_record_stops_the_loop_before_anything_is_sent(kafka: RunningKafka) -> None:
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics()
    bench.produce("in", ["a"])
    processor = Oversize()
    loop = TransactionLoop(processor, Settings(kafka=bench.settings), slot="s")
    began = time.monotonic()
    with pytest.raises(APIError, match=r"api\.too_large"):
        loop.run()
    assert time.monotonic() - began < 30
    assert sorted(processor.gone) == [0, 1]
    assert list(dump(bench.clients, ["out"])) == []
