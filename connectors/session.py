"""One instance in this process: its state that is not the host's, and its share of the transaction being made.

A handler calls `emit`, `tell`, `put` and `remove`; `flush` turns all of it into records. Numbers (epoch, seq) and all
else that was changed stand in the same transaction as what they are about, so a batch that is repeated keeps them.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from connectors import results, sizes, undecrypted
from connectors import status as status_module
from connectors.driver import Closed, Entry
from connectors.queue import SendQueue
from connectors.recent import RecentIds
from connectors.sends import Outgoing, Told
from connectors.state_items import ARCHIVE, OWN, ItemWriter, data_key_record_key
from connectors.status import Status
from connectors.statuses import Statuses
from connectors.undecrypted import Undecrypted
from core.envelope import cloud_event_headers, envelope
from core.ids import session_event_id
from core.kafka.codec import Codec
from core.kafka.deadletter import dead_letter
from core.kafka.processor import InRecord, OutRecord
from core.kafka.sizes import check
from core.security.keyring import DataKey
from core.telemetry.metrics import DEAD_LETTERS, EVENTS, RESULTS, Metrics

PROCESS = "connector"
NUMBERS = OWN + "numbers"
_NUMBERS = struct.Struct(">QQ")
_ORIGINS = ("live", "offline", "history")


# How long an undecryptable message is waited for before it is told as a gap.
DEFAULT_FOLLOW_UP_MS = 600_000


class Phase(StrEnum):
    """Where the session is between this process and the host."""

    CLOSED = "closed"
    """No session at the host, and none wanted or not yet possible."""
    READING = "reading"
    """Its committed items are being read."""
    CLAIMING = "claiming"
    """The new epoch is in a transaction; the session is opened after its commit."""
    OPEN = "open"
    CLOSING = "closing"
    """The host was told to close it and has not yet answered."""


class Session:
    """Everything the connector knows of one instance of an owned partition."""

    def __init__(self, instance_id: str, partition: int, codec: Codec, metrics: Metrics) -> None:
        self.instance_id = instance_id
        self.partition = partition
        self.key = instance_id.encode()
        self.instance: dict[str, Any] | None = None
        self.data_key: DataKey | None = None
        self.writer: ItemWriter | None = None

        self.epoch = 0
        self.seq = 0
        self.status = Status()
        self.recent = RecentIds()
        self.statuses = Statuses()
        self.queue = SendQueue()
        self.undecrypted = Undecrypted()
        # Set when there is something to wait for: the timer for what has not been followed up.
        self.follow_up_ms = DEFAULT_FOLLOW_UP_MS
        self.overdue_at_ms = 0

        self.phase = Phase.CLOSED
        self.number = 0
        self.next_position = 1
        self.waiting: deque[Entry | Closed] = deque()
        # Of the turn being made: credit to give back, a session that ended, when its first event came in.
        self.taken_bytes = 0
        self.ended = 0
        self.received_ms = 0
        self.told: set[str] = set()
        # The host broke the journal's rules: what still comes of this session is not committed.
        self.broken = False
        self.online = False
        self.paired: bool | None = None
        # The committed items, sealed as they stand in Kafka; only between a restore or read and the opening.
        self.stored: list[tuple[bytes, bytes]] | None = None
        # The committed items when a device is being archived or an instance deleted.
        self.leaving: list[tuple[bytes, bytes]] | None = None
        # Why the items are being read, if they are (connectors.lifecycle.Purpose).
        self.purpose: str | None = None
        self.logout_deadline_ms: int | None = None
        self.rotation: str | None = None
        # The instance's record: since when it is missing, and whether it is known to have been removed.
        self.unknown_since_ms: int | None = None
        self.known_gone = False
        # Everything of it was removed; nothing is written until there is a new instance of this name.
        self.gone = False
        # The timer that is set for the queue.
        self.wake_ms = 0
        self.attempts = 0
        self.open_at_ms = 0
        self.last_error: str | None = None

        self.codec = codec
        self.metrics = metrics
        self._records: list[OutRecord] = []
        self._changes: dict[str, bytes | None] = {}
        self._numbered = False
        self._new_data_key: bytes | None = None

    # ------------------------------------------------------------------ facts

    @property
    def generation(self) -> int:
        return self.instance["generation"] if self.instance else self.status.generation

    @property
    def simulated(self) -> bool:
        return bool(self.instance and self.instance["simulated"])

    @property
    def dirty(self) -> bool:
        return bool(self._records or self._changes or self._numbered)

    # ------------------------------------------------------------------ restore

    def restore(self, items: Mapping[str, bytes], parse: Callable[[int, bytes], Outgoing]) -> None:
        """The connector's own items, as committed."""
        numbers = items.get(NUMBERS)
        if numbers is not None:
            self.epoch, self.seq = _NUMBERS.unpack(numbers)
        self.status = Status.restore(items.get(status_module.ITEM))
        self.recent = RecentIds.restore(items)
        self.statuses = Statuses.restore(items)
        self.queue = SendQueue.restore(items, parse)
        self.undecrypted = Undecrypted.restore(items.get(undecrypted.ITEM))

    def use_key(self, data_key: DataKey, new: bytes | None = None) -> None:
        """`new` is the wrapped key when it has to be written (a new instance, or a rotation)."""
        self.data_key = data_key
        if self.writer is None:
            self.writer = ItemWriter(data_key)
        self._new_data_key = new

    def begin_epoch(self, step: int = 1) -> None:
        """A load from state: committed before the session is opened."""
        self.epoch += step
        self.seq = 0
        self._numbered = True

    # ------------------------------------------------------------------ what goes into the transaction

    def emit(
        self,
        topic: str,
        kind: str,
        body: dict[str, Any],
        *,
        now_ms: int,
        event_id: str | None = None,
        occurred_at: int = 0,
        received_at: int = 0,
        origin: int = 0,
        subject: str | None = None,
    ) -> bool:
        """One event. False when it came before: nothing is published then, while the entry's state still is committed."""
        if event_id is not None and not self.recent.add(event_id):
            return False
        self.seq += 1
        self._numbered = True
        if event_id is None:
            event_id = session_event_id(self.instance_id, self.generation, session_epoch=self.epoch, seq=self.seq)
        received = received_at or now_ms
        record = {
            "envelope": envelope(
                event_id=event_id,
                instance_id=self.instance_id,
                generation=self.generation,
                occurred_at=occurred_at or received,
                received_at=received,
                origin=_ORIGINS[origin] if origin in range(len(_ORIGINS)) else "unknown",  # type: ignore[arg-type]
                tenant=self.instance["tenant"] if self.instance else None,
                session_epoch=self.epoch,
                seq=self.seq,
                simulated=self.simulated,
            ),
            **body,
        }
        value, cuts = sizes.fit(record, lambda each: self.codec.encode(topic, each))
        headers = cloud_event_headers(
            event_id=event_id,
            event_type=f"wharf.{kind}",
            instance_id=self.instance_id,
            time_ms=occurred_at or received,
            subject=subject,
            traceparent=_trace(event_id),
        )
        out = OutRecord(topic, self.key, value, headers + cuts)
        # What still does not fit becomes a dead letter: the loop would stop on it.
        check(out)
        self._records.append(out)
        self.metrics.counter(EVENTS).labels(topic).inc()
        return True

    def tell(self, told: Told, now_ms: int) -> None:
        """One result of a command."""
        self.tell_record(results.of(self.instance_id, told, now_ms))

    def tell_record(self, record: dict[str, Any]) -> None:
        state = record["state"]
        record = {**record, "session_epoch": self.epoch or None}
        self.told.add(state)
        headers = cloud_event_headers(
            event_id=f"{record['result_id']}/{record['revision']}",
            event_type=f"wharf.result.{state}",
            instance_id=self.instance_id,
            time_ms=record["occurred_at"],
            subject=record["command_id"],
            traceparent=_trace(record["result_id"]),
        )
        self._records.append(OutRecord("results", self.key, self.codec.encode("results", record), headers))
        if record["final"]:
            self.metrics.counter(RESULTS).labels(state).inc()

    def dead_letter(self, record: InRecord, code: str, message: str, field: str | None, now_ms: int) -> None:
        self.metrics.counter(DEAD_LETTERS).labels(processor=PROCESS, code=code).inc()
        self._records.append(dead_letter(record, code, message, field, 1, now_ms, encoder=self.codec, process=PROCESS))

    def publish(self, record: OutRecord) -> None:
        self._records.append(record)

    def put(self, name: str, value: bytes) -> None:
        self._changes[name] = value

    def remove(self, name: str) -> None:
        self._changes[name] = None

    def become(self, status: Status) -> None:
        self.status = status
        self._changes[status_module.ITEM] = status.value()

    def archive(self, items: Mapping[str, bytes]) -> None:
        """Moves the device's items aside, the committed ones and those of this turn; an older archive is replaced."""
        latest = {**items, **self._changes}
        device = {
            name: value for name, value in latest.items() if value is not None and not name.startswith((OWN, ARCHIVE))
        }
        for name in items:
            if name.startswith(ARCHIVE) and name.removeprefix(ARCHIVE) not in device:
                self._changes[name] = None
        for name, value in device.items():
            self._changes[ARCHIVE + name] = value
            self._changes[name] = None

    def flush(self) -> list[OutRecord]:
        """Everything since the last flush, as records; values of items go last."""
        changes = self._changes
        for own in (self.queue.changes(), self.recent.changes(), self.statuses.changes(), self.undecrypted.changes()):
            if own:
                changes.update(own)
        if self._numbered:
            changes[NUMBERS] = _NUMBERS.pack(self.epoch, self.seq)
        records = self._records
        if self._new_data_key is not None:
            records.append(
                OutRecord(
                    "sessions", data_key_record_key(self.instance_id), self._new_data_key, partition=self.partition
                )
            )
        if changes:
            assert self.writer is not None
            partition = self.partition
            records += [OutRecord("sessions", key, value, (), partition) for key, value in self.writer.records(changes)]
        self._records, self._changes, self._numbered, self._new_data_key = [], {}, False, None
        return records

    def set_back(self, by_ms: int) -> None:
        """The clock was set back: waits last no longer."""
        self.queue.set_back(by_ms)
        self.open_at_ms = max(0, self.open_at_ms - by_ms)
        if self.unknown_since_ms is not None:
            self.unknown_since_ms -= by_ms
        if self.logout_deadline_ms is not None:
            self.logout_deadline_ms -= by_ms
        # Its timers are set anew.
        self.wake_ms = self.overdue_at_ms = 0

    def wipe(self) -> None:
        """The instance is gone: no item of it is written any more; the caller publishes the tombstones."""
        self.epoch, self.seq, self.status = 0, 0, Status()
        self.recent, self.statuses, self.queue = RecentIds(), Statuses(), SendQueue()
        self.undecrypted = Undecrypted()
        self.data_key = self.writer = self.rotation = self.logout_deadline_ms = None
        self.stored = []
        self.gone = True
        self._changes, self._numbered, self._new_data_key = {}, False, None


def _trace(event_id: str) -> str:
    """A trace of its own, derived from the id, so that a repeated batch is byte for byte the same."""
    digits = event_id.replace("-", "")
    return f"00-{digits}-{digits[16:]}-01"
