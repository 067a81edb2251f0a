"""One owner: zombies are fenced, a take-over sees everything its predecessor committed, and a lost position is not guessed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from core.kafka.dump import dump
from core.kafka.marks import POSITION_KEY, Mark, decode_mark
from tests.integration.kernel_support import GROUP, Bench, Predecessor, assert_exactly_once, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until


@pytest.fixture
def bench(kafka: RunningKafka) -> Bench:
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics()
    return bench


def marks(bench: Bench) -> dict[int, Mark | None]:
    reader = bench.clients.marks_reader(bench.prefix + GROUP)
    try:
        wanted = [TopicPartition(bench.prefix + "in", number) for number in range(bench.partitions)]
        return {entry.partition: decode_mark(entry.metadata) for entry in reader.committed(wanted, 10)}
    finally:
        reader.close()


def owned_by(bench: Bench, slot: str, kind: str) -> bool:
    return all(mark is not None and (mark.slot, mark.kind) == (slot, kind) for mark in marks(bench).values())


@pytest.mark.parametrize("stopped_at", [None, "collected"])
def test_a_zombie_is_fenced(bench: Bench, stopped_at: str | None) -> None:
    """Stopped while idle, or between consuming and producing; the other slot takes over; then it goes on."""
    ids = [f"m{number}" for number in range(40)]
    with closing(zombie := bench.worker("z", stop_at=stopped_at)) as running:
        zombie.wait("owned", bench.partitions)
        if stopped_at is None:
            zombie.signal(signal.SIGSTOP)
            bench.produce("in", ids)
        else:
            bench.produce("in", ids)
            zombie.wait("stopping")
        running.append(heir := bench.worker("h"))
        heir.wait("owned", bench.partitions)
        assert heir.logged("takeover_fences")
        wait_until(lambda: len(bench.copies()) >= len(ids), 20, "copied by the heir")
        zombie.signal(signal.SIGCONT)
        assert zombie.exit_code() == 3
        assert zombie.seen("fenced")
        assert {event["partition"] for event in zombie.seen("lost")} == set(range(bench.partitions))
        assert not zombie.seen("committed")
        assert heir.alive
        # It ended before it joined again: nothing moved to it and back.
        assert len(zombie.logged("assigned")) == 1
        assert not heir.logged("revoked")
    assert_exactly_once(bench.copies(), ids)


def test_an_orderly_stop_releases_and_needs_no_fence(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(20)]
    bench.produce("in", ids)
    with closing(first := bench.worker("first")) as running:
        first.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) == len(ids), 20, "copied")
        assert owned_by(bench, "first", "claim")
        assert first.stop() == 0
        assert owned_by(bench, "first", "release")
        running.append(second := bench.worker("second"))
        second.wait("owned", bench.partitions)
        assert not second.logged("takeover_fences")
        assert owned_by(bench, "second", "claim")
    assert_exactly_once(bench.copies(), ids)


def test_a_partition_is_handed_over_under_load(bench: Bench) -> None:
    """A second slot joins while the first works: release, no fence, nobody dies, nothing lost or doubled."""
    ids = [f"m{number}" for number in range(3000)]
    with closing(first := bench.worker("first")) as running:
        first.wait("owned", bench.partitions)
        running.append(second := bench.worker("second"))
        for at in range(0, len(ids), 300):
            bench.produce("in", ids[at : at + 300])
        first.wait("revoked")
        second.wait("owned")
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "copied")
        assert not second.logged("takeover_fences")
        assert not first.seen("lost")
        assert {mark.slot for mark in marks(bench).values() if mark is not None} == {"first", "second"}
        assert [worker.stop() for worker in running] == [0, 0]
    assert_exactly_once(bench.copies(), ids)


def test_a_restarted_slot_goes_on_at_once(bench: Bench) -> None:
    """A static member gets its partitions back without waiting for the session time-out."""
    with closing(first := bench.worker("a", session_timeout_ms=30_000)) as running:
        first.wait("owned", bench.partitions)
        first.kill()
        running.append(second := bench.worker("a", session_timeout_ms=30_000))
        second.wait("owned", bench.partitions, seconds=10)


def test_a_second_process_with_the_same_slot_ends_the_first(bench: Bench) -> None:
    with closing(first := bench.worker("a")) as running:
        first.wait("owned", bench.partitions)
        running.append(second := bench.worker("a"))
        second.wait("owned", bench.partitions)
        assert first.exit_code(10) == 3
        assert first.seen("fenced")
        assert second.alive


@pytest.fixture
def predecessor(bench: Bench) -> Predecessor:
    bench.produce("in", [f"m{number}" for number in range(20)])
    return Predecessor(bench)


def test_the_hole_stays_closed_without_a_mark(bench: Bench, predecessor: Predecessor) -> None:
    """Nobody is known to be fenced: the heir waits for the pending transaction, then sees all of it."""
    predecessor.begin(metadata="")
    predecessor.leave()
    with closing(heir := bench.worker("h")):
        wait_until(lambda: heir.logged("assigned"), 20, "assigned")
        with pytest.raises(AssertionError):
            heir.wait("owned", seconds=2.5)
        predecessor.producer.commit_transaction(10)
        owned = heir.wait("owned", bench.partitions)
        assert [event["count"] for event in owned] == [7, 7]
        assert [event["positions"] for event in owned] == [{"in": 3}, {"in": 3}]


def test_the_hole_stays_closed_by_the_fence(bench: Bench, predecessor: Predecessor) -> None:
    """The mark tells whom to fence: the heir goes on at once, and the pending transaction can never be committed."""
    predecessor.claim()
    predecessor.begin(metadata="")
    predecessor.leave()
    with closing(heir := bench.worker("h")):
        owned = heir.wait("owned", bench.partitions, seconds=20)
        assert [event["count"] for event in owned] == [0, 0]
        assert [event["positions"] for event in owned] == [{"in": 0}, {"in": 0}]
        with pytest.raises(KafkaException) as refused:
            predecessor.producer.commit_transaction(10)
        assert refused.value.args[0].fatal()
        wait_until(lambda: len(bench.copies()) == 20, 20, "copied")
    assert_exactly_once(bench.copies(), [f"m{number}" for number in range(20)])


@pytest.mark.parametrize("again", [True, False], ids=["joined again since", "still the same stay"])
def test_a_slot_is_fenced_unless_it_has_joined_again_since_its_claim(bench: Bench, again: bool) -> None:
    """A slot that came back, with other partitions or none, is not ended for what its former process left claimed."""
    with closing() as running:
        idle = bench.clients.member(bench.prefix + GROUP, "c", 30_000)
        joined: list[str] = []
        idle.subscribe([bench.prefix + "side"], on_assign=lambda consumer, _entries: joined.append(consumer.memberid()))

        def serving(condition: Callable[[], bool]) -> Callable[[], bool]:
            def served() -> bool:
                idle.poll(0.05)
                return condition()

            return served

        wait_until(serving(lambda: bool(joined)), 20, "joined")
        producer = bench.clients.transactional_producer(f"{bench.prefix}{GROUP}.c")
        producer.init_transactions(20)
        mark = Mark("claim", "c", "1", "c-before" if again else joined[-1]).encode()
        claims = [TopicPartition(bench.prefix + "in", number, 0, metadata=mark) for number in range(bench.partitions)]
        producer.begin_transaction()
        producer.send_offsets_to_transaction(claims, idle.consumer_group_metadata(), 10)
        producer.commit_transaction(10)

        running.append(heir := bench.worker("h"))
        wait_until(serving(lambda: len(heir.seen("owned")) == bench.partitions), 30, "owned by the heir")
        assert bool(heir.logged("takeover_fences")) is not again
        producer.begin_transaction()
        producer.produce(bench.prefix + "side", b"x", b"k", partition=0)
        if again:
            producer.commit_transaction(10)
        else:
            with pytest.raises(KafkaException) as refused:
                producer.commit_transaction(10)
            assert refused.value.args[0].fatal()
        idle.close()


def test_a_slot_that_is_fenced_before_it_owns_anything_goes_on(bench: Bench) -> None:
    """A take-over elsewhere fences it for what its former process left claimed: there is nothing to tear down."""
    ids = [f"m{number}" for number in range(20)]
    bench.produce("in", ids)
    paused = {"crash": {"point": "after_restore", "signal": "STOP"}}
    with closing(worker := bench.worker("a", faults=paused, session_timeout_ms=30_000)):
        wait_until(lambda: worker.stopped, 30, "standing still before its claim")
        bench.clients.transactional_producer(f"{bench.prefix}{GROUP}.a").init_transactions(20)
        worker.signal(signal.SIGCONT)
        worker.wait("owned", bench.partitions)
        assert worker.logged("fenced_before_owning")
        wait_until(lambda: len(bench.copies()) >= len(ids), 20, "copied")
    assert_exactly_once(bench.copies(), ids)


def test_a_slot_that_was_fenced_by_its_newer_process_before_it_owns_anything_ends(bench: Bench) -> None:
    """It may not fence that one in turn, whatever it sees first: the fence or the group's word."""
    ids = [f"m{number}" for number in range(40)]
    bench.produce("in", ids[:20])
    paused = {"crash": {"point": "after_restore", "signal": "STOP"}}
    with closing(older := bench.worker("a", faults=paused, session_timeout_ms=30_000)) as running:
        wait_until(lambda: older.stopped, 30, "standing still before its claim")
        running.append(newer := bench.worker("a"))
        newer.wait("owned", bench.partitions)
        older.signal(signal.SIGCONT)
        assert older.exit_code() != 0
        assert not older.logged("fenced_before_owning")
        bench.produce("in", ids[20:])
        wait_until(lambda: len(bench.copies()) >= len(ids), 20, "copied")
        assert newer.alive
    assert_exactly_once(bench.copies(), ids)


def forget_offsets(bench: Bench) -> None:
    admin = bench.clients.admin()
    for future in admin.delete_consumer_groups([bench.prefix + GROUP]).values():
        future.result()


def run_once(bench: Bench, ids: list[str]) -> None:
    before = len(bench.copies())
    bench.produce("in", ids)
    with closing(worker := bench.worker("a")):
        worker.wait("owned", bench.partitions)
        wait_until(lambda: len(bench.copies()) == before + len(ids), 20, "copied")
        # The group can only be deleted once its static member is gone: leave by time-out.
        assert worker.stop() == 0
    admin = bench.clients.admin()
    group = bench.prefix + GROUP
    wait_until(
        lambda: admin.describe_consumer_groups([group])[group].result().state.name == "EMPTY", 20, "the group is empty"
    )


def rewind_offsets(bench: Bench) -> None:
    first = [TopicPartition(bench.prefix + "in", number, 0) for number in range(bench.partitions)]
    group, admin = bench.prefix + GROUP, bench.clients.admin()
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, first)])[group].result()


@pytest.mark.parametrize("change", [forget_offsets, rewind_offsets])
def test_the_position_item_stands_in_for_offsets_that_others_changed(
    bench: Bench, change: Callable[[Bench], None]
) -> None:
    first, second = [f"a{number}" for number in range(30)], [f"b{number}" for number in range(30)]
    run_once(bench, first)
    change(bench)
    bench.produce("in", second)
    with closing(worker := bench.worker("a")):
        owned = worker.wait("owned", bench.partitions)
        assert [event["positions"] for event in owned] == [{"in": 15}, {"in": 15}]
        assert len(worker.logged("takeover_uses_position_item")) == bench.partitions
        wait_until(lambda: len(bench.copies()) >= 60, 20, "copied")
    assert_exactly_once(bench.copies(), first + second)


def test_state_without_any_position_stops_the_start(bench: Bench) -> None:
    run_once(bench, ["a", "b"])
    forget_offsets(bench)
    producer = bench.clients.producer()
    for number in range(bench.partitions):
        producer.produce(bench.prefix + "state", None, POSITION_KEY, partition=number)
    assert producer.flush(10) == 0
    with closing(worker := bench.worker("a")):
        assert worker.exit_code() == 1
        assert "db.position_lost" in "".join(worker.log)
        assert not worker.seen("owned")


def test_tables_are_complete_before_ownership_and_followed_after(bench: Bench) -> None:
    producer = bench.clients.producer()
    for number in range(bench.partitions):
        for value in (b"old", b"new"):
            producer.produce(bench.prefix + "tab", value, b"k", partition=number)
    assert producer.flush(10) == 0
    with closing(worker := bench.worker("a", table=True)):
        worker.wait("owned", bench.partitions)
        early = [event for event in worker.events if event["event"] in ("table", "owned")]
        assert [event["event"] for event in early] == ["table"] * 2 * bench.partitions + ["owned"] * bench.partitions
        producer.produce(bench.prefix + "tab", b"later", b"k", partition=0)
        assert producer.flush(10) == 0
        later = worker.wait("table", 2 * bench.partitions + 1)[-1]
        assert (later["value"], later["owned"], later["partition"]) == ("later", True, 0)
    assert len(worker.seen("table")) == 2 * bench.partitions + 1


def test_positions_survive_as_json_of_every_input(bench: Bench) -> None:
    """The position item names every input topic, so that a lost group restores side topics too."""
    bench.produce("in", ["a", "b"])
    bench.produce("side", ["c", "d"])
    with closing(worker := bench.worker("a", side=True)):
        wait_until(lambda: len(bench.copies()) == 4, 20, "copied")
        assert worker.stop() == 0
    items = [record for record in dump(bench.clients, ["state"]) if record.key == POSITION_KEY]
    newest = {record.partition: json.loads(record.value or b"")["at"] for record in items}
    assert newest == {0: {"in": 1, "side": 1}, 1: {"in": 1, "side": 1}}
