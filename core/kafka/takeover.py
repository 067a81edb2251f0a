"""Taking over partitions: fence → committed() → high watermark → read to it; the loop then claims in a transaction.

The order is the safety (facts/kafka.md, section 1, rules 4 to 6): once `committed()` has answered, no transaction of a
former owner is pending on these partitions, so what is read afterwards up to the high watermark is all there will ever
be of it. The fence only makes that fast. The former owner is known from the mark in the committed offset's metadata.

The work is done in slices outside of the rebalance callback, so that neither the group nor other partitions wait.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from core.clock import Clock
from core.errors import DBError
from core.faults import Faults
from core.kafka.clients import KafkaClients
from core.kafka.fetch import in_record
from core.kafka.holdings import Source
from core.kafka.marks import OWNER_KEY, POSITION_KEY, decode_mark, decode_position, is_own_key
from core.kafka.members import static_members
from core.kafka.processor import Processor
from core.kafka.standby import Standby
from core.kafka.table import read_to_end, watermarks
from core.kafka.tail import Tail
from core.kafka.transaction import ASK_AGAIN_S
from core.telemetry.logs import get_logger

_CALL_S = 2.0
# What may have to be asked again and again is asked for so long at a time, the answers' time growing: live partitions are
# served in between.
_ASK_S, _ASK_GROWTH, _ASK_MOST_S = 0.3, 1.5, 2.0
# After so many of these, or 4 s, a producer may never come back.
_ASKED_OF_ONE = 13
# Records of a standby's tail given to the processor in one step.
_STEP = 2000


@dataclass(slots=True)
class Restored:
    """What a partition goes on from: input positions, table positions, and the position item as it stands in the state."""

    positions: dict[Source, int] = field(default_factory=dict)
    tables: dict[Source, int] = field(default_factory=dict)
    written: dict[str, int] | None = None
    has_state: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """The names a take-over needs; `fence_id` gives the transactional id of a slot."""

    group: str
    prefix: str
    slot: str
    fence_id: Callable[[str], str]


class TakeOver:
    """One take-over of one or more partitions; `run()` until it returns True, then claim `partitions`."""

    def __init__(
        self,
        partitions: Iterable[int],
        *,
        clients: KafkaClients,
        member: Consumer,
        processor: Processor,
        group: Group,
        clock: Clock,
        faults: Faults,
        standby: Standby | None = None,
    ) -> None:
        self.partitions: dict[int, Restored] = {partition: Restored() for partition in partitions}
        self.started = clock.monotonic()
        # State records restored, by where they came from.
        self.from_log = self.from_standby = 0
        self._clients = clients
        self._member = member
        self._processor = processor
        self._group = group
        self._clock = clock
        self._faults = faults
        self._standby = standby
        self._steps = self._work()
        self._log = get_logger(__name__)

    def drop(self, partition: int) -> bool:
        """The partition went elsewhere meanwhile; True if it was part of this take-over."""
        return self.partitions.pop(partition, None) is not None

    def run(self, budget_s: float) -> bool:
        """Go on for about that long; True when everything is restored."""
        until = self._clock.monotonic() + budget_s
        while self._clock.monotonic() < until:
            try:
                next(self._steps)
            except StopIteration:
                return True
        return False

    def close(self) -> None:
        """Give up; readers are closed."""
        self._steps.close()

    def _name(self, topic: str) -> str:
        return self._group.prefix + topic

    def _work(self) -> Generator[None, None, None]:
        claimants = self._claimants()
        self._faults.reach("before_fence")
        if "fence" not in self._faults.mutants:
            yield from self._fence(claimants)
        self._faults.reach("after_fence")
        committed = yield from self._committed()
        self._faults.reach("after_committed")
        probe = self._clients.marks_reader(self._group.group)
        try:
            state_ends = self._state_ends(probe)
            input_ends = {
                (topic, partition): watermarks(probe, self._name(topic), partition, _CALL_S)
                for topic in self._inputs()
                for partition in self.partitions
            }
        finally:
            probe.close()
        yield
        yield from self._restore(state_ends)
        for partition, restored in self.partitions.items():
            self._position(partition, restored, committed, input_ends)
        for topic in self._processor.table_topics:
            yield from self._read_table(topic)

    def _inputs(self) -> tuple[str, ...]:
        return (self._processor.input_topic, *self._processor.side_topics)

    def _claimants(self) -> set[str]:
        """The slots to fence.

        Not one that has joined the group again since its claim: it fenced its former process before, or has lost the
        partition itself, and the fence would end a process that does nothing wrong.
        """
        topic = self._name(self._processor.input_topic)
        found = self._committed_by_now([TopicPartition(topic, partition) for partition in self.partitions])
        marks = [mark for entry in found if (mark := decode_mark(entry.metadata)) is not None]
        claims = [mark for mark in marks if mark.kind == "claim" and mark.slot != self._group.slot]
        members = static_members(self._clients, self._group.group, _CALL_S) if claims else {}
        return {mark.slot for mark in claims if not mark.member or members.get(mark.slot, mark.member) == mark.member}

    def _fence(self, slots: set[str]) -> Generator[None, None, None]:
        for slot in sorted(slots):
            self._log.info("takeover_fences", foreign_slot=slot, partitions=sorted(self.partitions))
            timeouts = chain(((each,) for each in ASK_AGAIN_S), repeat((_ASK_S,) * _ASKED_OF_ONE))
            while not (yield from self._fence_by_one(slot, next(timeouts))):
                pass

    def _fence_by_one(self, slot: str, timeouts: Sequence[float]) -> Generator[None, None, bool]:
        """One producer is asked for so long at a time; False when it has not answered by then."""
        producer = self._clients.transactional_producer(self._group.fence_id(slot))
        for timeout in timeouts:
            if self._fenced(producer, timeout):
                return True
            yield
        return False

    def _fenced(self, producer: Producer, timeout: float) -> bool:
        try:
            producer.init_transactions(timeout)
        except KafkaException as cause:
            fault = cause.args[0]
            if fault.retriable() or fault.code() == KafkaError._TIMED_OUT:
                return False
            raise
        return True

    def _committed(self) -> Generator[None, None, dict[Source, int]]:
        """Waits for as long as a former owner's transaction is pending on one of the partitions."""
        wanted = [TopicPartition(self._name(topic), number) for topic in self._inputs() for number in self.partitions]
        if "committed" in self._faults.mutants:
            return self._positions_of(self._committed_by_now(wanted))
        timeout = _ASK_S
        while True:
            try:
                return self._positions_of(_checked(self._member.committed(wanted, timeout)))
            except KafkaException as cause:
                if not (cause.args[0].retriable() or cause.args[0].code() == KafkaError._TIMED_OUT):
                    raise
            timeout = min(timeout * _ASK_GROWTH, _ASK_MOST_S)
            yield

    def _committed_by_now(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        """Does not wait for pending transactions."""
        reader = self._clients.marks_reader(self._group.group)
        try:
            return _checked(reader.committed(wanted, _CALL_S))
        finally:
            reader.close()

    def _positions_of(self, found: list[TopicPartition]) -> dict[Source, int]:
        return {
            (str(entry.topic).removeprefix(self._group.prefix), entry.partition): entry.offset
            for entry in found
            if entry.offset >= 0
        }

    def _state_ends(self, probe: Consumer) -> dict[int, tuple[int, int]]:
        topic = self._processor.state_topic
        if topic is None:
            return {}
        return {number: watermarks(probe, self._name(topic), number, _CALL_S) for number in self.partitions}

    def _restore(self, ends: dict[int, tuple[int, int]]) -> Generator[None, None, None]:
        topic = self._processor.state_topic
        if topic is None:
            return
        starts = {partition: low for partition, (low, _high) in ends.items()}
        for partition, (low, high) in ends.items():
            tail = None if self._standby is None else self._standby.lend(partition, low, high)
            if tail is not None and tail.position is not None:
                starts[partition] = tail.position
                yield from self._restore_tail(partition, tail)
        yield from read_to_end(
            self._clients,
            self._group.group,
            self._name(topic),
            starts,
            {partition: high for partition, (_low, high) in ends.items()},
            self._restore_one,
            lambda partition: partition in self.partitions,
        )

    def _restore_tail(self, partition: int, tail: Tail) -> Generator[None, None, None]:
        """Once the partition went elsewhere the tail is followed on and may not be looked at."""
        items = iter(tail.values.items())
        while partition in self.partitions and (some := list(islice(items, _STEP))):
            self.from_standby += len(some)
            for key, value in some:
                self._restore_item(partition, key, value)
            yield

    def _restore_one(self, message: Message) -> None:
        key, value, partition = message.key(), message.value(), int(message.partition() or 0)
        if partition in self.partitions and isinstance(key, bytes):
            self.from_log += 1
            self._restore_item(partition, key, value if isinstance(value, bytes) else None)

    def _restore_item(self, partition: int, key: bytes, value: bytes | None) -> None:
        restored = self.partitions[partition]
        if key == POSITION_KEY:
            restored.written = None if value is None else decode_position(value)
        restored.has_state |= not is_own_key(key) or key == OWNER_KEY
        if not is_own_key(key):
            self._processor.restore(partition, key, value)

    def _position(
        self,
        partition: int,
        restored: Restored,
        committed: dict[Source, int],
        ends: dict[Source, tuple[int, int]],
    ) -> None:
        gone = (self._processor.input_topic, partition) not in committed
        if gone and restored.written is None and restored.has_state:
            raise DBError(
                "db.position_lost",
                f"{self._processor.state_topic} holds state of partition {partition}, but the group's offset and the "
                "position item are gone",
                partition=partition,
            )
        # Our commits write both in one transaction. Where they differ an expiry or an administrator changed the group's
        # offsets; to follow that would do again, or skip, what the state says is done.
        known = {(topic, partition): offset for topic, offset in (restored.written or {}).items()}
        if any(committed.get((topic, partition)) != known.get((topic, partition)) for topic in restored.written or {}):
            self._log.warning("takeover_uses_position_item", partition=partition, positions=restored.written)
        for topic in self._inputs():
            source = (topic, partition)
            low, high = ends[source]
            offset = known.get(source, committed.get(source))
            if offset is None:
                offset = low
            if offset > high:
                raise DBError(
                    "db.position_lost",
                    f"the position {offset} in {topic} is beyond its end {high}: the topic lost records",
                    partition=partition,
                )
            if offset < low:
                self._log.error("records_expired_unread", topic=topic, partition=partition, position=offset, first=low)
            restored.positions[source] = max(offset, low)

    def _read_table(self, topic: str) -> Generator[None, None, None]:
        probe = self._clients.reader(self._group.group)
        try:
            ends = {number: watermarks(probe, self._name(topic), number, _CALL_S) for number in self.partitions}
        finally:
            probe.close()
        yield from read_to_end(
            self._clients,
            self._group.group,
            self._name(topic),
            {partition: low for partition, (low, _high) in ends.items()},
            {partition: high for partition, (_low, high) in ends.items()},
            lambda message: self._table_one(topic, message),
            lambda partition: partition in self.partitions,
        )
        # What was read beyond the target is not delivered again: an older value would follow a newer one.
        for partition, restored in self.partitions.items():
            source = (topic, partition)
            restored.tables[source] = max(restored.tables.get(source, 0), ends[partition][1])

    def _table_one(self, topic: str, message: Message) -> None:
        partition = int(message.partition() or 0)
        if partition not in self.partitions:
            return
        self.partitions[partition].tables[(topic, partition)] = int(message.offset() or 0) + 1
        if not is_own_key(message.key() if isinstance(message.key(), bytes) else None):
            self._processor.table(in_record(message, topic))


def _checked(entries: list[TopicPartition]) -> list[TopicPartition]:
    for entry in entries:
        if entry.error is not None:
            raise KafkaException(entry.error)
    return entries
