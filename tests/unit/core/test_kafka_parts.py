"""The pure parts of the kernel: marks, buffers, holdings, sizes, faults, topic differences, waiting."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import APIError, DBError
from core.kafka import sizes, topic_admin
from core.kafka.buffers import TURN, FairBuffers
from core.kafka.deadletter import dead_letter
from core.kafka.holdings import Holdings, Payload
from core.kafka.marks import (
    OWNER_KEY,
    POSITION_KEY,
    Mark,
    decode_mark,
    decode_position,
    encode_position,
    is_own_key,
)
from core.kafka.patience import Patience, Stuck
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.kafka.topic_admin import Change, Wanted, differences
from core.kafka.wakeup import Wakeup
from core.settings import KafkaSettings, Settings
from core.topics import BY_NAME, MAX_RECORD_BYTES, TOPICS, record_limit
from tests.support.waiting import wait_until

# --- marks ---------------------------------------------------------------------------------------------------------------


@given(slot=st.text(), incarnation=st.text(), kind=st.sampled_from(["claim", "release"]))
def test_marks_come_back(slot: str, incarnation: str, kind: str) -> None:
    mark = Mark("claim" if kind == "claim" else "release", slot, incarnation)
    assert decode_mark(mark.encode()) == mark


@pytest.mark.parametrize(
    "metadata", [None, "", "{}", "null", '{"t":"other","slot":"a","inc":"1"}', "7", '{"t":"claim"}']
)
def test_foreign_metadata_is_no_mark(metadata: str | None) -> None:
    assert decode_mark(metadata) is None


@given(positions=st.dictionaries(st.text(), st.integers(0, 2**62)))
def test_positions_come_back(positions: dict[str, int]) -> None:
    assert decode_position(encode_position(positions)) == positions


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"at":{"in":"x"}}', b'{"at":3}'])
def test_a_damaged_position_is_told(value: bytes) -> None:
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        decode_position(value)


def test_only_the_loops_own_keys_begin_with_zero() -> None:
    assert is_own_key(OWNER_KEY)
    assert is_own_key(POSITION_KEY)
    assert not is_own_key(b"sales-1\x00ab")
    assert not is_own_key(None)


# --- buffers -------------------------------------------------------------------------------------------------------------


def record(topic: str, partition: int, offset: int) -> InRecord:
    return InRecord(topic, partition, offset, 0, b"k", bytes(offset % 3))


class BufferMachine(RuleBasedStateMachine):
    """Against a plain model: nothing lost, nothing doubled, order kept, whoever waits is served within one round."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers = FairBuffers()
        self.model: dict[tuple[str, int], list[int]] = {}
        self.next: dict[tuple[str, int], int] = defaultdict(int)

    @rule(topic=st.sampled_from(["in", "side"]), partition=st.integers(0, 3))
    def open(self, topic: str, partition: int) -> None:
        if (topic, partition) not in self.model:
            self.buffers.open((topic, partition))
            self.model[topic, partition] = []

    @rule(partition=st.integers(0, 3))
    def close(self, partition: int) -> None:
        gone = self.buffers.close(partition)
        assert sorted(gone) == sorted(source for source in self.model if source[1] == partition)
        for source in gone:
            del self.model[source]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), count=st.integers(1, 3 * TURN))
    def add(self, data: st.DataObject, count: int) -> None:
        source = data.draw(st.sampled_from(sorted(self.model)))
        for _ in range(count):
            self.buffers.add(source, record(*source, self.next[source]))
            self.model[source].append(self.next[source])
            self.next[source] += 1

    @rule(count=st.integers(0, 5 * TURN))
    def take(self, count: int) -> None:
        waiting = {source for source, offsets in self.model.items() if offsets}
        taken = self.buffers.take(count, 1 << 40)
        assert len(taken) == min(count, sum(len(offsets) for offsets in self.model.values()))
        for found in taken:
            assert self.model[found.topic, found.partition].pop(0) == found.offset
        if count >= len(waiting) * TURN:
            assert {(found.topic, found.partition) for found in taken} == waiting

    @rule(max_bytes=st.integers(1, 200))
    def take_bytes(self, max_bytes: int) -> None:
        before = self.buffers.bytes
        taken = self.buffers.take(1 << 40, max_bytes)
        sizes_taken = [1 + found.offset % 3 for found in taken]
        assert sum(sizes_taken) >= min(before, max_bytes)
        assert sum(sizes_taken[:-1]) < max_bytes
        for found in taken:
            assert self.model[found.topic, found.partition].pop(0) == found.offset

    @invariant()
    def counted(self) -> None:
        offsets = [offset for offsets in self.model.values() for offset in offsets]
        assert len(self.buffers) == len(offsets)
        assert self.buffers.bytes == sum(1 + offset % 3 for offset in offsets)


TestBuffers = BufferMachine.TestCase


# --- holdings ------------------------------------------------------------------------------------------------------------


def holdings(state_topic: str | None = "state") -> Holdings:
    return Holdings(prefix="p.", input_topic="in", state_topic=state_topic, slot="s", incarnation="1")


class HoldingsMachine(RuleBasedStateMachine):
    """Whatever is committed: the offsets and the position item tell the same, and every commit carries the claim."""

    def __init__(self) -> None:
        super().__init__()
        self.holdings = holdings()
        self.committed: dict[tuple[str, int], int] = {}
        self.marks: dict[int, str] = {}
        self.items: dict[int, dict[str, int]] = {}

    def commit(self, payload: Payload) -> None:
        records, offsets = payload
        for entry in offsets:
            assert entry.topic.startswith("p.")
            source = (entry.topic.removeprefix("p."), entry.partition)
            self.committed[source] = entry.offset
            if source[0] == "in":
                mark = decode_mark(entry.metadata)
                assert mark is not None
                assert mark.slot == "s"
                self.marks[entry.partition] = mark.kind
        for record in records:
            if record.key == POSITION_KEY:
                assert record.partition is not None
                self.items[record.partition] = decode_position(record.value or b"")

    @rule(partition=st.integers(0, 2))
    def claim(self, partition: int) -> None:
        if partition in self.holdings:
            return
        positions = {(topic, partition): self.committed.get((topic, partition), 0) for topic in ("in", "side")}
        self.commit(self.holdings.claim(partition, positions, self.items.get(partition)))
        self.holdings.add(partition, positions)

    @precondition(lambda self: len(self.holdings) > 0)
    @rule(data=st.data(), moves=st.lists(st.integers(0, 5), min_size=2, max_size=2), aborts=st.integers(0, 2))
    def work(self, data: st.DataObject, moves: list[int], aborts: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.holdings.partitions)), min_size=1))
        batch: Batch = {}
        for partition in chosen:
            at = self.holdings.positions(partition)
            moved = {
                (topic, partition): at[topic, partition] + move
                for topic, move in zip(("in", "side"), moves, strict=True)
                if move
            }
            batch[partition] = PartitionWork([OutRecord("out", b"k", b"v")], moved)
        self.holdings.validate(batch)
        first = self.holdings.work(batch)
        for _ in range(aborts):
            again = self.holdings.work(batch)
            assert again.records == first.records
            assert [(o.topic, o.partition, o.offset) for o in again.offsets] == [
                (o.topic, o.partition, o.offset) for o in first.offsets
            ]
        assert {entry.partition for entry in first.offsets if entry.topic == "p.in"} == chosen
        self.commit(first)
        self.holdings.applied(batch)

    @precondition(lambda self: len(self.holdings) > 0)
    @rule()
    def keep_alive(self) -> None:
        before = dict(self.committed)
        payload = self.holdings.keep_alive()
        assert not payload.records
        self.commit(payload)
        assert self.committed == before

    @precondition(lambda self: len(self.holdings) > 0)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.holdings.partitions)), min_size=1))
        before = dict(self.committed)
        self.commit(self.holdings.release(chosen))
        assert self.committed == before
        for partition in chosen:
            self.holdings.remove(partition)

    @invariant()
    def the_log_agrees(self) -> None:
        for partition, item in self.items.items():
            assert item == {topic: self.committed[topic, partition] for topic in ("in", "side")}
        for partition, kind in self.marks.items():
            assert kind == ("claim" if partition in self.holdings else "release")
        assert self.holdings.all_positions() == {
            source: offset for source, offset in self.committed.items() if source[1] in self.holdings
        }


TestHoldings = HoldingsMachine.TestCase


def test_public_state_gets_no_marks() -> None:
    held = holdings(state_topic=None)
    assert held.claim(0, {("in", 0): 4}, None).records == []
    held.add(0, {("in", 0): 4})
    assert held.work({0: PartitionWork([], {("in", 0): 5})}).records == []
    assert held.release([0]).records == []


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({1: PartitionWork()}, "partition 1, which is not owned"),
        ({0: PartitionWork([], {("in", 0): 3})}, "from 4 to 3"),
        ({0: PartitionWork([], {("other", 0): 3})}, "from None to 3"),
        ({0: PartitionWork([], {("in", 1): 9})}, "from None to 9"),
    ],
)
def test_a_wrong_batch_is_refused(batch: Batch, message: str) -> None:
    held = holdings()
    held.add(0, {("in", 0): 4})
    with pytest.raises(ValueError, match=message):
        held.validate(batch)


# --- sizes ---------------------------------------------------------------------------------------------------------------


@given(key=st.binary(max_size=10), header=st.binary(max_size=10), over=st.integers(-3, 3))
def test_the_limit_is_on_key_value_and_headers(key: bytes, header: bytes, over: int) -> None:
    rest = len(key) + len(header) + len("name")
    made = OutRecord("out", key, bytes(MAX_RECORD_BYTES + over - rest), (("name", header),))
    assert sizes.record_bytes(made) == MAX_RECORD_BYTES + over
    if over > 0:
        with pytest.raises(APIError, match=r"api\.too_large"):
            sizes.check(made)
    else:
        sizes.check(made)


def test_what_wraps_a_command_may_be_larger() -> None:
    for topic in ("commands.admitted", "deadletter"):
        assert record_limit(topic) > record_limit("commands") == MAX_RECORD_BYTES


class Json:
    def encode(self, topic: str, record: dict[str, object]) -> bytes:
        plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()}
        return json.dumps({"topic": topic, **plain}, default=str).encode()


def test_a_dead_letter_holds_everything() -> None:
    origin = InRecord("commands", 3, 77, 5, b"sales-1", b"\xff", (("ce_id", b"x"),))
    made = dead_letter(origin, "api.validation", "bad", "to", 2, 99, encoder=Json(), process="limiter")
    assert (made.topic, made.key) == ("deadletter", b"sales-1")
    body = json.loads(made.value or b"")
    assert (body["origin_topic"], body["partition"], body["offset"], body["timestamp"]) == ("commands", 3, 77, 5)
    assert (body["code"], body["field"], body["process"], body["attempts"], body["at"]) == (
        "api.validation",
        "to",
        "limiter",
        2,
        99,
    )
    assert body["value"] == "ff"


def test_a_dead_letter_that_does_not_fit_names_what_it_leaves_out() -> None:
    origin = InRecord("commands", 0, 0, 0, b"k", bytes(2 * MAX_RECORD_BYTES))
    made = dead_letter(origin, "api.too_large", "large", None, 1, 0, encoder=Json(), process="limiter")
    sizes.check(made)
    body = json.loads(made.value or b"")
    assert body["value"] is None
    assert f"{2 * MAX_RECORD_BYTES} bytes left out, sha256 " in body["message"]


# --- topics --------------------------------------------------------------------------------------------------------------


def test_the_table_has_each_topic_once_and_states_with_an_hour_of_tombstones() -> None:
    assert len(BY_NAME) == len(TOPICS)
    for name in ("sessions", "limits"):
        assert int(BY_NAME[name].config["delete.retention.ms"]) >= 3_600_000
        assert BY_NAME[name].internal
    assert BY_NAME["commands"].append_time
    assert BY_NAME["commands"].retention_ms >= 72 * 3_600_000


def test_every_topic_carries_its_largest_record() -> None:
    wanted = topic_admin.wanted(Settings(kafka=KafkaSettings(prefix="x.")))
    assert {wish.name for wish in wanted} == {f"x.{topic.name}" for topic in TOPICS} | {"_schemas"}
    for wish in wanted:
        if wish.name != "_schemas":
            assert int(wish.config["max.message.bytes"]) > record_limit(wish.name.removeprefix("x."))


def test_differences() -> None:
    wishes = [Wanted("a", 2, {"x": "1"}), Wanted("b", 2, {"x": "1"}), Wanted("c", 2, {"x": "1"}), Wanted("d", 2, {})]
    present = {"b": (2, {"x": "2", "y": "3"}), "c": (3, {"x": "1"}), "d": (2, {"z": "0"})}
    assert differences(wishes, present) == [
        Change("create", "a", 2, (("x", "1"),)),
        Change("alter", "b", 2, (("x", "1"),), "x: 2 → 1"),
        Change("partitions", "c", 3, (), "has 3 partitions, the settings say 2"),
    ]


# --- waiting -------------------------------------------------------------------------------------------------------------


def test_a_wakeup_ends_the_wait_and_is_not_lost() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    began = time.monotonic()
    wakeup.wait(30)
    assert wakeup.is_set
    wakeup.clear()
    threading.Timer(0.05, wakeup.set).start()
    wakeup.wait(30)
    assert time.monotonic() - began < 20
    wakeup.clear()
    wakeup.wait(0.01)
    assert not wakeup.is_set


def test_patience_ends_with_a_call_that_does_not_return() -> None:
    patience = Patience("test")
    release = threading.Event()
    seen: list[int] = []
    patience.run(lambda: seen.append(1), 10)
    with pytest.raises(Stuck):
        patience.run(lambda: release.wait(60), 0.05)
    patience.run(lambda: seen.append(2), 10)
    release.set()
    assert seen == [1, 2]
    with pytest.raises(ZeroDivisionError):
        patience.run(lambda: 1 // len([]), 10)


_STANDS_STILL = """
import threading
from core.kafka.patience import Patience

def call():
    print("begun", flush=True)
    threading.Event().wait(0.3)

Patience("test").run(call, 0.6)
"""


def test_a_process_that_stood_still_has_not_waited() -> None:
    """The call takes half of the time it may; the process stands still for twice of it meanwhile."""
    with subprocess.Popen([sys.executable, "-c", _STANDS_STILL], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGSTOP)
        until = time.monotonic() + 1.2
        wait_until(lambda: time.monotonic() > until, 10, "it stood still")
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 0
