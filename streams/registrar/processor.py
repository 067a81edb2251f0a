"""The registrar as the transactional loop sees it: requests in; instances, answers and tombstones out.

State = `wa.instances` itself, and the answers of lately, which are read back from the end of `wa.audit`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from core import ids
from core.envelope import cloud_event_headers
from core.errors import CATALOGUE, DBError, PoisonError
from core.kafka.deadletter import dead_letter
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.telemetry.logs import get_logger
from core.telemetry.metrics import DEAD_LETTERS, REGISTRAR_REQUESTS, Metrics
from streams.registrar.answers import Answer, Answers
from streams.registrar.decide import Decision, decide
from streams.registrar.validation import Problem, Record, identity_problem

CONTROL: Final = "control"
INSTANCES: Final = "instances"
AUDIT: Final = "audit"
MAX_ID: Final = 128


class Codec(Protocol):
    """core.kafka.codec.Codec, as far as it is used here."""

    def encode(self, topic: str, record: Record) -> bytes:
        """Wire format of the record."""

    def decode(self, topic: str, payload: bytes | None) -> Record:
        """The record, or PoisonError."""


@dataclass(slots=True)
class _Partition:
    """The instances of a partition, its answers, and when deleted instances get their tombstone."""

    instances: dict[str, Record] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    burials: list[tuple[int, str, int]] = field(default_factory=list)
    records: list[OutRecord] = field(default_factory=list)


class RegistrarProcessor:
    """Implements core.kafka.processor.Processor. `audit_tail` reads the last answers of a partition."""

    name = "registrar"
    input_topic = CONTROL
    side_topics: tuple[str, ...] = ()
    table_topics: tuple[str, ...] = ()
    state_topic = INSTANCES

    def __init__(
        self,
        codec: Codec,
        *,
        partitions: int,
        retention_ms: int,
        simulator_enabled: bool,
        audit_tail: Callable[[int], Sequence[bytes]],
        metrics: Metrics,
    ) -> None:
        self._codec = codec
        self._count = partitions
        self._retention_ms = retention_ms
        self._simulator_enabled = simulator_enabled
        self._audit_tail = audit_tail
        self._metrics = metrics
        self._log = get_logger(__name__)
        self._partitions: dict[int, _Partition] = {}
        self._owned: set[int] = set()

    # -- life of a partition

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None:
        instance_id = key.decode()
        if value is None:
            self._of(partition).instances.pop(instance_id, None)
            return
        try:
            self._put(self._of(partition), self._codec.decode(INSTANCES, value))
        except PoisonError as cause:
            raise DBError(
                "db.state_corrupt", f"the record of instance {instance_id} cannot be read: {cause}"
            ) from cause

    def table(self, record: InRecord) -> None:
        raise NotImplementedError("the registrar has no tables")

    def owned(self, partition: int, _positions: dict[tuple[str, int], int]) -> None:
        state = self._of(partition)
        for value in self._audit_tail(partition):
            try:
                state.answers.add(self._codec.decode(AUDIT, value), value)
            except PoisonError as cause:
                # Written by somebody else, or by a later version: it is no answer of ours.
                self._log.warning("audit_unreadable", partition=partition, error=cause)
        self._owned.add(partition)

    def revoked(self, partition: int) -> None:
        self.lost(partition)

    def lost(self, partition: int) -> None:
        self._partitions.pop(partition, None)
        self._owned.discard(partition)

    def dropped(self, partition: int) -> None:
        """The state is ahead of what is committed; `revoked` or `lost`, which follow, drop it."""

    def committed(self, partitions: Sequence[int]) -> None:
        """Nothing outside of Kafka rests on the registrar's transactions."""

    # -- work

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        positions: dict[int, dict[tuple[str, int], int]] = {}
        for record in records:
            self._request(self._of(record.partition), record, now_ms)
            positions.setdefault(record.partition, {})[record.topic, record.partition] = record.offset + 1
        batch: Batch = {}
        for number in self._owned:
            state = self._partitions[number]
            self._bury(state, now_ms)
            written, state.records = state.records, []
            if written or number in positions:
                batch[number] = PartitionWork(written, positions.get(number, {}))
        return batch

    def _request(self, state: _Partition, record: InRecord, now_ms: int) -> None:
        try:
            request = self._codec.decode(CONTROL, record.value)
        except PoisonError as cause:
            self._metrics.counter(DEAD_LETTERS).labels(self.name, cause.code).inc()
            self._log.warning("dead_letter", partition=record.partition, offset=record.offset, error=cause)
            state.records.append(
                dead_letter(
                    record, cause.code, cause.message, cause.field, 1, now_ms, encoder=self._codec, process=self.name
                )
            )
            return
        problem = identity_problem(request)
        if problem is not None:
            self._answer(state, request, Decision(problem, None, None), now_ms, partition=record.partition)
            return
        right = ids.partition_for(request["instance_id"], self._count)
        if right != record.partition:
            key = request["instance_id"].encode()
            state.records.append(OutRecord(CONTROL, key, record.value, record.headers, right))
            return
        former = state.answers.get(request["instance_id"], request["request_id"])
        if former is not None:
            self._again(state, request, former, now_ms)
            return
        current = state.instances.get(request["instance_id"])
        decision = decide(current, request, now_ms, simulator_enabled=self._simulator_enabled)
        if decision.instance is not None:
            self._write(state, decision.instance, now_ms)
        audit, value = self._answer(state, request, decision, now_ms)
        state.answers.add(audit, value)

    def _again(self, state: _Partition, request: Record, former: Answer, now_ms: int) -> None:
        """A request id that was answered: the same answer, unless it came with another kind of request."""
        if request["kind"] != former.kind:
            problem = Problem("api.idempotency_mismatch", f"the request id was used for {former.kind}", "request_id")
            self._answer(state, request, Decision(problem, None, None), now_ms)
            return
        audit = self._codec.decode(AUDIT, former.value)
        state.records.append(self._audit_record(audit, former.value, None))
        self._count_request(request["kind"], "repeated")

    def _write(self, state: _Partition, instance: Record, now_ms: int) -> None:
        self._put(state, instance)
        instance_id, generation, version = instance["instance_id"], instance["generation"], instance["version"]
        headers = cloud_event_headers(
            event_id=f"{instance_id}/{generation}/{version}",
            event_type="wharf.instance.deleted" if instance["desired"] == "deleted" else "wharf.instance.changed",
            instance_id=instance_id,
            time_ms=now_ms,
        )
        state.records.append(
            OutRecord(INSTANCES, instance_id.encode(), self._codec.encode(INSTANCES, instance), headers)
        )
        self._log.info(
            "instance_written",
            instance_id=instance_id,
            version=version,
            desired=instance["desired"],
            simulated=instance["simulated"],
        )

    def _answer(
        self, state: _Partition, request: Record, decision: Decision, now_ms: int, *, partition: int | None = None
    ) -> tuple[Record, bytes]:
        """The AuditEvent of a decision. `partition` is for a request that names no instance."""
        subject = (request["instance_id"] or "")[:MAX_ID]
        problem = decision.problem
        audit: Record = {
            "audit_id": ids.event_id("audit", subject, 0, request["request_id"], request["kind"]),
            "request_id": request["request_id"][:MAX_ID],
            "kind": request["kind"],
            "outcome": "accepted" if decision.accepted else "rejected",
            "error": None if problem is None else _error(problem),
            "actor": request["requested_by"][:MAX_ID],
            "subject": subject,
            "version": decision.version,
            "at": now_ms,
        }
        value = self._codec.encode(AUDIT, audit)
        state.records.append(self._audit_record(audit, value, partition))
        self._count_request(request["kind"], audit["outcome"])
        return audit, value

    def _audit_record(self, audit: Record, value: bytes, partition: int | None) -> OutRecord:
        headers = cloud_event_headers(
            event_id=audit["audit_id"],
            event_type=f"wharf.audit.{audit['outcome']}",
            instance_id=audit["subject"],
            time_ms=audit["at"],
            subject=audit["request_id"],
        )
        return OutRecord(AUDIT, audit["subject"].encode(), value, headers, partition)

    def _bury(self, state: _Partition, now_ms: int) -> None:
        """Tombstones for instances that have been deleted for long enough."""
        while state.burials and state.burials[0][0] <= now_ms:
            _when, instance_id, version = heapq.heappop(state.burials)
            instance = state.instances.get(instance_id)
            if instance is not None and instance["desired"] == "deleted" and instance["version"] == version:
                del state.instances[instance_id]
                state.records.append(OutRecord(INSTANCES, instance_id.encode(), None))
                self._log.info("instance_buried", instance_id=instance_id, version=version)

    def _put(self, state: _Partition, instance: Record) -> None:
        instance_id = instance["instance_id"]
        state.instances[instance_id] = instance
        if instance["desired"] == "deleted":
            due = instance["updated_at"] + self._retention_ms
            heapq.heappush(state.burials, (due, instance_id, instance["version"]))

    def _of(self, partition: int) -> _Partition:
        return self._partitions.setdefault(partition, _Partition())

    def _count_request(self, kind: str, outcome: str) -> None:
        self._metrics.counter(REGISTRAR_REQUESTS).labels(kind, outcome).inc()


def _error(problem: Problem) -> Record:
    return {
        "code": problem.code,
        "message": problem.message,
        "field": problem.field,
        "retryable": CATALOGUE[problem.code].retryable,
    }
