"""The state of partitions that others own, followed in memory, so that a take-over reads only what came last.

A thread of its own reads what a take-over would read: committed records only, up to the last stable offset. The order of
a take-over stays as it is (core.kafka.takeover): after fence, `committed()` and high watermark it borrows the tail as it
stands and reads from there to the high watermark itself, so nothing depends on how far the tail was.

A tail is followed, or lent to a take-over and not changed meanwhile, or dropped when its partition is owned. Stale ones
start again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from core.clock import Clock
from core.kafka.clients import KafkaClients, answered
from core.kafka.roles import PartitionRole
from core.kafka.table import burst
from core.kafka.tail import Instant, Tail
from core.telemetry import metrics as names
from core.telemetry.logs import get_logger
from core.telemetry.metrics import Metrics

# Long enough that an idle standby costs nothing; records end the wait.
_FETCH_WAIT_MS = 200
_POLL_S = 0.1
_MEASURE_S = 2.0
_AGAIN_S = 0.5
_CALL_S = 5.0
_STOP_S = 1.0


@dataclass(slots=True)
class _Followed:
    """`run` grows when reading has to begin anew, so that what the reader still held of before is not taken."""

    tail: Tail
    run: int
    lent: bool = False


class Standby:
    """`lend`, `own` and `follow` are called by the loop's thread, `rows` by any."""

    def __init__(
        self, clients: KafkaClients, group: str, topic: str, processor: str, *, clock: Clock, metrics: Metrics
    ) -> None:
        self._clients = clients
        self._name = f"{group}.standby"
        self._topic = topic
        self._processor = processor
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._followed: dict[int, _Followed] = {}
        self._runs = 0
        # Half of the topic's delete.retention.ms; until it is known nothing is lent.
        self._allowed_s: float | None = None
        self._measured: set[int] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
        self._log = get_logger(__name__).bind(processor=processor)

    # --- for the loop ------------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def start(self, partitions: Iterable[int]) -> None:
        """Follow these from now on, and those that are given to `follow`."""
        for partition in partitions:
            self.follow(partition)
        self._log.info("standby_starts", partitions=sorted(self._followed))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self.started:
            self._thread.join(_STOP_S)

    def follow(self, partition: int) -> None:
        """The partition is not, or no longer, this process's; a tail that was lent goes on where it stood."""
        with self._lock:
            self._runs += 1
            followed = self._followed.get(partition)
            if followed is None:
                self._followed[partition] = _Followed(self._empty(), self._runs)
            elif followed.lent:
                followed.lent, followed.run = False, self._runs

    def lend(self, partition: int, first: int, end: int) -> Tail | None:
        """The tail, unchanged until `own` or `follow`; None when it is of no use for the log from `first` to `end`."""
        with self._lock:
            followed = self._followed.get(partition)
            if followed is None or self._allowed_s is None:
                return None
            followed.lent = True
            if followed.tail.stale(Instant.of(self._clock), self._allowed_s) or not followed.tail.serves(first, end):
                return None
            return followed.tail

    def own(self, partition: int) -> None:
        """The partition is this process's: its memory is freed."""
        with self._lock:
            self._followed.pop(partition, None)

    def rows(self) -> list[PartitionRole]:
        with self._lock:
            return [
                PartitionRole(partition, "standby", followed.tail.lag, followed.tail.position)
                for partition, followed in self._followed.items()
            ]

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._tail()
            except KafkaException as trouble:
                self._log.warning("standby_failed", kafka_error=trouble.args[0].name())
                self._stopped.wait(_AGAIN_S)
            except Exception:  # noqa: BLE001  (a standby that ended in silence would still look like one)
                self._log.exception("standby_failed")
                self._stopped.wait(_AGAIN_S)

    def _tail(self) -> None:
        admin = self._clients.admin()
        self._allowed_s = allowed_s = self._retention_s(admin) / 2
        reader = self._clients.reader(self._name, wait_ms=_FETCH_WAIT_MS)
        assigned: dict[int, int] = {}
        next_measure = 0.0
        try:
            while not self._stopped.is_set():
                self._assign(reader, assigned)
                self._take(burst(reader, _POLL_S), assigned, allowed_s)
                if self._clock.monotonic() >= next_measure:
                    self._measure(admin, allowed_s)
                    next_measure = self._clock.monotonic() + min(_MEASURE_S, allowed_s / 4)
        finally:
            reader.close()

    def _retention_s(self, admin: AdminClient) -> float:
        """How long the topic keeps its tombstones, as it is set now."""
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        entries = answered(admin.describe_configs([resource], request_timeout=_CALL_S)[resource], _CALL_S)
        return int(entries["delete.retention.ms"].value) / 1000

    def _assign(self, reader: Consumer, assigned: dict[int, int]) -> None:
        """Make the reader read what is followed, each from its tail's position."""
        with self._lock:
            wanted = {
                partition: (followed.run, followed.tail.position)
                for partition, followed in self._followed.items()
                if not followed.lent
            }
        gone = [partition for partition, run in assigned.items() if wanted.get(partition, (0, 0))[0] != run]
        if gone:
            reader.incremental_unassign([TopicPartition(self._topic, partition) for partition in gone])
            for partition in gone:
                del assigned[partition]
        new = {partition: position for partition, (_, position) in wanted.items() if partition not in assigned}
        if new:
            reader.incremental_assign(
                [
                    TopicPartition(self._topic, partition, OFFSET_BEGINNING if position is None else position)
                    for partition, position in new.items()
                ]
            )
            assigned.update({partition: wanted[partition][0] for partition in new})

    def _take(self, messages: Sequence[Message], assigned: dict[int, int], allowed_s: float) -> None:
        if not messages:
            return
        now = Instant.of(self._clock)
        with self._lock:
            for message in messages:
                partition = message.partition()
                fault = message.error()
                followed = None if partition is None else self._followed.get(partition)
                if fault is not None and fault.fatal():
                    raise KafkaException(fault)
                if partition is None or followed is None or followed.lent or assigned.get(partition) != followed.run:
                    continue
                if followed.tail.stale(now, allowed_s):
                    self._restart(partition, "stale")
                elif fault is None:
                    followed.tail.apply(message.key(), message.value(), int(message.offset() or 0))
                elif fault.code() == KafkaError._PARTITION_EOF:
                    followed.tail.reached(int(message.offset() or 0))
                elif fault.code() == KafkaError._AUTO_OFFSET_RESET:
                    self._restart(partition, "position_lost")

    def _restart(self, partition: int, reason: str) -> None:
        """From the first record, with the lock held."""
        self._runs += 1
        self._followed[partition] = _Followed(self._empty(), self._runs)
        self._metrics.counter(names.STANDBY_RESTARTS).labels(self._processor, reason).inc()
        self._log.warning("standby_restarts", partition=partition, reason=reason)

    def _empty(self) -> Tail:
        return Tail(Instant.of(self._clock))

    def _measure(self, admin: AdminClient, allowed_s: float) -> None:
        """How far the tails are behind what is committed; those that are too far start again."""
        asked = Instant.of(self._clock)
        with self._lock:
            for partition, followed in list(self._followed.items()):
                if not followed.lent and followed.tail.stale(asked, allowed_s):
                    self._restart(partition, "stale")
            wanted = [partition for partition, followed in self._followed.items() if not followed.lent]
        ends = self._ends(admin, wanted)
        lags = self._metrics.gauge(names.STANDBY_LAG)
        with self._lock:
            for partition, followed in self._followed.items():
                if partition in ends and not followed.lent:
                    followed.tail.measured(ends[partition], asked)
            for partition in self._measured - self._followed.keys():
                lags.remove(self._processor, str(partition))
            self._measured &= self._followed.keys()
            for partition, followed in self._followed.items():
                if followed.tail.lag is not None:
                    lags.labels(self._processor, str(partition)).set(followed.tail.lag)
                    self._measured.add(partition)
            held = sum(followed.tail.bytes for followed in self._followed.values())
        self._metrics.gauge(names.STANDBY_BYTES).labels(self._processor).set(held)

    def _ends(self, admin: AdminClient, partitions: Sequence[int]) -> dict[int, int]:
        """The last stable offset of each: what is not committed yet is not to be read yet."""
        if not partitions:
            return {}
        answers = admin.list_offsets(
            {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in partitions},  # type: ignore[no-untyped-call]
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_CALL_S,
        )
        return {where.partition: answered(answer, _CALL_S).offset for where, answer in answers.items()}
