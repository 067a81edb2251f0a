"""Single transactions: the flush before the offsets, aborts, sizes, and the renewal of a producer that is stuck."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from core.clock import SystemClock
from core.errors import APIError, Fenced
from core.faults import Faults
from core.kafka import transaction
from core.kafka.dump import dump
from core.kafka.loop import TransactionLoop
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.kafka.transaction import Aborted, Away, Transactions
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
    transactions = Transactions(
        lambda: bench.clients.transactional_producer(bench.prefix + name), bench.prefix, faults, SystemClock()
    )
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
        lambda: bench.clients.transactional_producer(bench.prefix + "visible"), bench.prefix, Faults(), SystemClock()
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
        Transactions(
            lambda: bench.clients.transactional_producer(bench.prefix + "twice"), bench.prefix, Faults(), SystemClock()
        )
        for _ in range(2)
    )
    offsets = [TopicPartition(bench.prefix + "in", 0, 1)]
    old.start(ten_seconds)
    new.start(ten_seconds)
    new.run([], offsets, good, ten_seconds, work=False)
    with pytest.raises(Fenced):
        old.run([], offsets, good, ten_seconds, work=False)


class Overtaken(list[OutRecord]):
    """Records between which somebody fences their producer: during the flush Kafka refuses one after the other."""

    def __init__(self, records: Iterable[OutRecord], fence: Callable[[], None]) -> None:
        super().__init__(records)
        self._fence = fence

    def __iter__(self) -> Iterator[OutRecord]:
        yield from super().__iter__()
        self._fence()
        yield from super().__iter__()


class Inheriting(logging.Logger):
    """As structlog's, which every process uses: its `log` is not found while an exception is on its way."""


def test_a_fence_that_records_meet_is_told_as_one(
    bench: Bench, stale_and_good: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every partition's records are refused; what librdkafka says of the later ones must not hide the first refusal."""
    _stale, good = stale_and_good
    monkeypatch.setattr(bench.clients, "_log", Inheriting("kafka"))
    offsets = [TopicPartition(bench.prefix + "in", 0, 1)]
    make = partial(bench.clients.transactional_producer, bench.prefix + "met")
    producers: list[Producer] = []

    def keep() -> Producer:
        producers.append(make())
        return producers[-1]

    old, new = (
        Transactions(keep, bench.prefix, Faults(), SystemClock()),
        Transactions(make, bench.prefix, Faults(), SystemClock()),
    )

    def fence() -> None:
        producers[-1].flush(10)
        new.start(ten_seconds)

    records = [OutRecord("out", None, b"x", partition=partition) for partition in range(PARTITIONS)]
    old.start(ten_seconds)
    with pytest.raises(Fenced):
        old.run(Overtaken(records, fence), offsets, good, ten_seconds, work=True)


class HangingProducer:
    """A real producer one of whose calls does not come to its end, as librdkafka's may after a broker's restart."""

    def __init__(self, real: Producer, call: str, release: threading.Event) -> None:
        self._real = real
        self._call = call
        self._release = release

    def __getattr__(self, name: str) -> object:
        return self._hang if name == self._call else getattr(self._real, name)

    def _hang(self, *given: float) -> int:
        if self._call == "send_offsets_to_transaction":
            self._release.wait(60)
        if self._call in ("abort_transaction", "commit_transaction"):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "", retriable=True))
        return 1


@pytest.mark.parametrize("call", ["flush", "send_offsets_to_transaction", "abort_transaction"])
def test_a_stuck_producer_is_replaced(
    bench: Bench, stale_and_good: tuple[object, object], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    stale, good = stale_and_good
    monkeypatch.setattr(transaction, "_STUCK_S", 0.2)
    release = threading.Event()
    made: list[object] = []
    started = False

    def make() -> Producer:
        real = bench.clients.transactional_producer(f"{bench.prefix}stuck-{call}")
        made.append(real)
        return real if started else HangingProducer(real, call, release)  # type: ignore[return-value]

    transactions = Transactions(make, bench.prefix, Faults(), SystemClock())
    # A start may take more than one.
    transactions.start(ten_seconds)
    started, before = True, len(made)
    offsets = [TopicPartition(bench.prefix + "in", 1, 5)]
    record = OutRecord("tab", b"k", call.encode(), partition=1)
    metadata, reason = (stale, "GENERATION|MEMBER") if call == "abort_transaction" else (good, "STUCK")
    try:
        with pytest.raises(Aborted, match=reason):
            transactions.run([record], offsets, metadata, ten_seconds, work=True)
        transactions.run([record], offsets, good, ten_seconds, work=True)
    finally:
        release.set()
    assert len(made) == before + 1
    assert [found.value for found in dump(bench.clients, ["tab"]) if found.value == call.encode()] == [call.encode()]


def test_a_commit_that_is_abandoned_leaves_nothing_open(bench: Bench, stale_and_good: tuple[object, object]) -> None:
    _stale, good = stale_and_good
    left = iter([10.0] * 4)

    def soon_over() -> float:
        return next(left, -1.0)

    started = False

    def make() -> Producer:
        real = bench.clients.transactional_producer(bench.prefix + "abandoned")
        return real if started else HangingProducer(real, "commit_transaction", threading.Event())  # type: ignore[return-value]

    transactions = Transactions(make, bench.prefix, Faults(), SystemClock())
    transactions.start(ten_seconds)
    started = True
    offsets = [TopicPartition(bench.prefix + "in", 2, 5)]
    with pytest.raises(Away):
        transactions.run([OutRecord("tab", b"k", b"abandoned")], offsets, good, soon_over, work=True)
    transactions.abandon()
    transactions.settle(ten_seconds)
    transactions.run([OutRecord("tab", b"k", b"next")], offsets, good, ten_seconds, work=True)
    found = [record.value for record in dump(bench.clients, ["tab"])]
    assert b"next" in found
    assert b"abandoned" not in found


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
