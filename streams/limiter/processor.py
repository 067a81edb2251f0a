"""The limiter as the transactional loop sees it: records in, decoded and routed to their partition; records out.

Rule: whatever a record holds, the partition goes on. What cannot be decoded is a dead letter; what stands on another
partition than its instance's is forwarded before anything is remembered; everything else is the partition's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core import ids
from core.envelope import header
from core.errors import PoisonError
from core.kafka.deadletter import dead_letter
from core.kafka.processor import Batch, InRecord, PartitionWork
from core.kafka.sizes import headers_bytes, limit_for, record_bytes
from core.telemetry.logs import get_logger
from core.telemetry.metrics import DEAD_LETTERS, LIMITER_DECISIONS, LIMITER_DELAYED, Metrics
from streams.limiter.command import Arrival, digest_of
from streams.limiter.instances import InstanceTable, facts_of
from streams.limiter.limits import Policy
from streams.limiter.partition import Partition
from streams.limiter.records import BY, COMMANDS, PROCESS, Codec, Writer
from streams.limiter.state import State
from streams.limiter.store import Store
from streams.limiter.validation import Problem, identity_problem

RESULTS: Final = "results"
SESSIONS: Final = "events.session"
INSTANCES: Final = "instances"
# 00-<trace>-<span>-<flags>; anything else is not passed on.
_TRACEPARENT_BYTES: Final = 55
# Types of results that are steps on the way: only finals matter to duplicates, so these are not even decoded.
_ON_THE_WAY: Final = frozenset(
    f"wharf.result.{state}".encode() for state in ("admitted", "delayed", "queued", "sending", "unsettled")
)
# A transaction for positions alone is made this late.
_POSITIONS_MS: Final = 1_000


@dataclass(slots=True)
class _Read:
    """How far a partition's inputs were read since its last transaction.

    Most of what comes from `wa.results` changes nothing (our own results, steps on the way): its position need not be
    committed at once, and is read again after a crash without effect.
    """

    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    since_ms: int = 0

    def add(self, record: InRecord, now_ms: int) -> None:
        if not self.positions:
            self.since_ms = now_ms
        self.positions[record.topic, record.partition] = record.offset + 1

    def due(self, now_ms: int) -> bool:
        return bool(self.positions) and abs(now_ms - self.since_ms) >= _POSITIONS_MS

    def take(self) -> dict[tuple[str, int], int]:
        positions, self.positions = self.positions, {}
        return positions


class LimiterProcessor:
    """Implements core.kafka.processor.Processor. `folder` holds one cache file per owned partition."""

    name = "limiter"
    input_topic = COMMANDS
    side_topics = (RESULTS, SESSIONS)
    table_topics = (INSTANCES,)
    state_topic = "limits"

    def __init__(self, codec: Codec, *, partitions: int, folder: Path, policy: Policy, metrics: Metrics) -> None:
        self._codec = codec
        self._writer = Writer(codec)
        self._count = partitions
        self._folder = folder
        self._policy = policy
        self._metrics = metrics
        self._log = get_logger(__name__)
        self._tables: dict[int, InstanceTable] = {}
        self._states: dict[int, State] = {}
        self._owned: dict[int, Partition] = {}
        self._starting: set[int] = set()
        self._starts: dict[int, int] = {}
        self._read: dict[int, _Read] = {}

    # -- life of a partition

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None:
        self._state(partition).restore(key, value)

    def table(self, record: InRecord) -> None:
        instance_id = (record.key or b"").decode(errors="replace")
        table = self._tables.setdefault(record.partition, InstanceTable())
        if record.value is None:
            table.put(instance_id, None)
            return
        try:
            table.put(instance_id, facts_of(self._codec.decode(INSTANCES, record.value)))
        except PoisonError as cause:
            # Only the registrar writes here; what was known of the instance stays.
            self._log.error("instance_unreadable", instance_id=instance_id, offset=record.offset, error=cause)

    def owned(self, partition: int, positions: dict[tuple[str, int], int]) -> None:
        on_decision: Callable[[str], None] = self._count_decision
        self._owned[partition] = Partition(
            partition, self._state(partition), self._codec, self._writer, self._policy, on_decision
        )
        self._starting.add(partition)
        self._starts[partition] = positions[self.input_topic, partition]
        self._read[partition] = _Read()

    def revoked(self, partition: int) -> None:
        self.lost(partition)

    def lost(self, partition: int) -> None:
        state = self._states.pop(partition, None)
        if state is not None:
            state.close()
        self._owned.pop(partition, None)
        self._tables.pop(partition, None)
        self._starting.discard(partition)
        self._read.pop(partition, None)

    def dropped(self, partition: int) -> None:
        """The state is ahead of what is committed; `revoked` or `lost`, which follow, drop it."""

    def committed(self, partitions: Sequence[int]) -> None:
        """Nothing outside of Kafka rests on the limiter's transactions."""

    # -- work

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        for partition in self._starting:
            self._owned[partition].started(self._starts[partition], now_ms)
        self._starting.clear()
        for number, partition_ in self._owned.items():
            for instance_id in self._tables[number].take_changed() if number in self._tables else ():
                partition_.instance_changed(instance_id, now_ms)
        for record in records:
            self._route(self._owned[record.partition], record, now_ms)
            self._read[record.partition].add(record, now_ms)
        batch: Batch = {}
        held = 0
        for number, partition_ in self._owned.items():
            partition_.tick(now_ms)
            written = partition_.take()
            if written or self._read[number].due(now_ms):
                batch[number] = PartitionWork(written, self._read[number].take())
            held += partition_.state.held_count()
        self._metrics.gauge(LIMITER_DELAYED).set(held)
        return batch

    def _route(self, partition: Partition, record: InRecord, now_ms: int) -> None:
        try:
            if record.topic == self.input_topic:
                self._command(partition, record, now_ms)
            elif record.topic == SESSIONS:
                partition.session(self._codec.decode(SESSIONS, record.value), now_ms)
            elif (
                record.value is not None
                and header(record.headers, "ce_type") not in _ON_THE_WAY
                and header(record.headers, BY) != PROCESS
            ):
                partition.told(self._codec.decode(RESULTS, record.value), record.value)
        except PoisonError as cause:
            self._metrics.counter(DEAD_LETTERS).labels(self.name, cause.code).inc()
            self._log.warning(
                "dead_letter", topic=record.topic, partition=record.partition, offset=record.offset, error=cause
            )
            partition.write(
                dead_letter(
                    record, cause.code, cause.message, cause.field, 1, now_ms, encoder=self._codec, process=self.name
                )
            )

    def _command(self, partition: Partition, record: InRecord, now_ms: int) -> None:
        command = self._codec.decode_command(record.value)
        assert record.value is not None
        problem = identity_problem(command)
        if problem is not None:
            partition.refuse(command, problem, now_ms)
            return
        instance_id = command["instance_id"]
        right = ids.partition_for(instance_id, self._count)
        if right != partition.number:
            forwarded = self._writer.forwarded(record, instance_id, right)
            size = record_bytes(forwarded)
            if size > limit_for(self.input_topic):
                partition.refuse(command, Problem("api.too_large", f"the record has {size} bytes"), now_ms)
                return
            partition.write(forwarded)
            self._count_decision("forwarded")
            return
        trace = header(record.headers, "traceparent")
        partition.command(
            Arrival(
                command,
                record.value,
                record.partition,
                record.offset,
                partition.time_of(record.timestamp_ms, now_ms),
                digest_of(instance_id, command["command_id"]),
                bytes.fromhex(self._codec.command_hash(command)),
                trace.decode("ascii")
                if trace is not None and len(trace) == _TRACEPARENT_BYTES and trace.isascii()
                else None,
                len(record.key or b"") + len(record.value) + headers_bytes(record.headers),
            ),
            now_ms,
        )

    def _state(self, partition: int) -> State:
        state = self._states.get(partition)
        if state is None:
            table = self._tables.setdefault(partition, InstanceTable())
            state = self._states[partition] = State(Store(self._folder / str(partition) / "seen.sqlite"), table)
        return state

    def _count_decision(self, outcome: str) -> None:
        self._metrics.counter(LIMITER_DECISIONS).labels(outcome).inc()
