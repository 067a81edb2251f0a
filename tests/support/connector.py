"""A connector processor with a scripted driver and a log in memory, for unit tests only: what is committed survives a restart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connectors.driver import Capability, Closed, Delivery, DriverHealth, Entry, Lost, SessionStart
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.health import Overview
from connectors.processor import ConnectorProcessor
from connectors.state_items import split_key
from connectors.state_reader import Loaded
from core.clock import ManualClock
from core.faults import Faults
from core.ids import partition_for
from core.kafka.codec import Codec
from core.kafka.processor import InRecord, OutRecord
from core.kafka.registry_client import MemoryRegistry
from core.security.keyring import Keyring
from core.telemetry.metrics import Metrics
from schemas.catalogue import catalogue

START_MS = 1_800_000_000_000
INSTANCE = "sales-1"
PARTITIONS = 4
PARTITION = partition_for(INSTANCE, PARTITIONS)
Record = dict[str, Any]


class ScriptedDriver:
    """Keeps what it was told; the test says what it delivers."""

    name = "scripted"
    capabilities = frozenset(Capability)

    def __init__(self) -> None:
        self.opened: list[tuple[SessionStart, dict[str, bytes]]] = []
        self.closed: list[tuple[int, str]] = []
        self.sent: list[pb.Send] = []
        self.marked: list[pb.Mark] = []
        self.paired: list[tuple[int, str, str]] = []
        self.logged_out: list[tuple[int, str]] = []
        self.durables: list[tuple[int, int]] = []
        self.credited = 0
        self.forgotten: list[int] = []
        self._deliveries: list[Delivery] = []
        self._positions: dict[int, int] = {}

    def available(self, simulated: bool) -> bool:
        return True

    def open(self, start: SessionStart) -> None:
        self.opened.append((start, dict(start.items)))

    def lease(self, until: float) -> None:
        raise NotImplementedError

    def close(self, session: int, reason: str) -> None:
        self.closed.append((session, reason))

    def close_all(self, reason: str) -> None:
        raise NotImplementedError

    def pair(self, session: int, command_id: str, phone: str) -> None:
        self.paired.append((session, command_id, phone))

    def logout(self, session: int, command_id: str) -> None:
        self.logged_out.append((session, command_id))

    def send(self, request: pb.Send) -> None:
        self.sent.append(request)

    def mark(self, request: pb.Mark) -> None:
        self.marked.append(request)

    def durable(self, positions: Sequence[tuple[int, int]]) -> None:
        self.durables += positions

    def credit(self, session_bytes: Sequence[tuple[int, int]]) -> None:
        self.credited += sum(count for _, count in session_bytes)

    def forget(self, session: int) -> None:
        self.forgotten.append(session)

    def take(self) -> list[Delivery]:
        taken, self._deliveries = self._deliveries, []
        return taken

    def on_delivery(self, wake: object) -> None:
        raise NotImplementedError

    def health(self) -> DriverHealth:
        return DriverHealth(True, "scripted")

    def stop(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ the script

    @property
    def session(self) -> int:
        return self.opened[-1][0].session

    def entry(
        self,
        *events: pb.Event,
        changes: Iterable[tuple[str, bytes | None]] = (),
        session: int | None = None,
        position: int | None = None,
    ) -> None:
        """One journal entry of the newest session, at its next position."""
        number = self.session if session is None else session
        at = self._positions.get(number, 0) + 1 if position is None else position
        self._positions[number] = at
        entry = pb.JournalEntry(session=number, position=at, events=events)
        for name, value in changes:
            entry.changes.add(name=name, value=value or b"", tombstone=value is None)
        self._deliveries.append(Entry(number, entry, entry.ByteSize()))

    def gone(self, reason: str = "disconnected", *, may_reopen: bool = True) -> None:
        self._deliveries.append(Closed(self.session, reason, may_reopen))

    def lost(self) -> None:
        self._deliveries.append(Lost(frozenset((self.session,)), "the host died"))


class Rig:
    """The log, the clock and one processor at a time."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.codec = Codec(MemoryRegistry(), catalogue().by_topic)
        self.keyring = Keyring({"kek-1": bytes(32)}, bytes(range(32)))
        self.log: list[OutRecord] = []
        self.instances: dict[str, Record | None] = {}
        self.position = 0
        self._offset = 0
        self._wanted: list[tuple[int, str]] = []
        self.start()

    def start(self, turns_before: int = 0) -> None:
        """A new process on what is committed; so many turns, for other partitions, come before it owns this one."""
        self.driver = ScriptedDriver()
        self._wanted = []
        self.processor = ConnectorProcessor(
            driver=self.driver,
            codec=self.codec,
            keyring=self.keyring,
            reader=self,  # type: ignore[arg-type]
            clock=self.clock,
            metrics=Metrics(),
            jitter=lambda: 0.5,
            wakeup=lambda: None,
            overview=Overview(Metrics(), "connector-1"),
            faults=Faults(),
            simulator_enabled=True,
        )
        for record in self.log:
            if record.topic == "sessions" and record.key is not None:
                self.processor.restore(PARTITION, record.key, record.value)
        for instance_id in self.instances:
            self._table(instance_id)
        for _ in range(turns_before):
            self.turn()
        self.processor.owned(PARTITION, {("commands.admitted", PARTITION): self.position})

    # the state reader's side
    def request(self, partition: int, instance_id: str) -> None:
        self._wanted.append((partition, instance_id))

    def take(self) -> list[Loaded]:
        wanted, self._wanted = self._wanted, []
        loaded = []
        for partition, instance_id in wanted:
            items = {key: value for key, value in self.state().items() if split_key(key)[0] == instance_id}
            loaded.append(Loaded(partition, instance_id, list(items.items())))
        return loaded

    def state(self) -> dict[bytes, bytes]:
        """The compacted state topic."""
        items: dict[bytes, bytes] = {}
        for record in self.log:
            if record.topic == "sessions" and record.key is not None:
                if record.value is None:
                    items.pop(record.key, None)
                else:
                    items[record.key] = record.value
        return items

    # ------------------------------------------------------------------ input

    def instance(self, desired: str = "online", *, version: int = 1, generation: int = START_MS, **more: Any) -> None:
        self.instances[INSTANCE] = {
            "instance_id": INSTANCE,
            "generation": generation,
            "version": version,
            "desired": desired,
            "simulated": True,
            "updated_at": START_MS,
            **more,
        }
        self._table(INSTANCE)

    def no_instance(self) -> None:
        self.instances[INSTANCE] = None
        self._table(INSTANCE)

    def _table(self, instance_id: str) -> None:
        record = self.instances[instance_id]
        value = None if record is None else self.codec.encode("instances", record)
        self.processor.table(InRecord("instances", PARTITION, 0, START_MS, instance_id.encode(), value))

    def command(self, kind: str, command_id: str, *, interval_ms: int = 0, **fields: Any) -> InRecord:
        command = {"command_id": command_id, "instance_id": INSTANCE, "type": kind, **fields}
        admitted = {
            "command_id": command_id,
            "instance_id": INSTANCE,
            "type": kind,
            "admitted_at": self.clock.now_ms(),
            "command": self.codec.encode("commands", command),
            "decision": {"outcome": "admitted", "interval_ms": interval_ms},
            "origin": {"partition": PARTITION, "offset": self._offset},
            "body_hash": "",
        }
        return self.record(self.codec.encode("commands.admitted", admitted))

    def record(self, value: bytes) -> InRecord:
        record = InRecord("commands.admitted", PARTITION, self._offset, START_MS, INSTANCE.encode(), value)
        self._offset += 1
        return record

    def text(self, command_id: str, to: str = "491511234567", text: str = "hello", **fields: Any) -> InRecord:
        return self.command("send", command_id, to=to, content={"type": "text", "text": text}, **fields)

    # ------------------------------------------------------------------ turns

    def turn(self, *records: InRecord, commit: bool = True) -> list[OutRecord]:
        """One collect and, unless the process is to die before it, the commit."""
        batch = self.processor.collect(records, self.clock.now_ms())
        produced = [record for work in batch.values() for record in work.records]
        if not commit:
            return produced
        self.log += produced
        for work in batch.values():
            for offset in work.positions.values():
                self.position = offset
        if batch:
            self.processor.committed(tuple(batch))
        return produced

    def settle(self, turns: int = 6) -> None:
        """Turns until nothing more happens by itself."""
        for _ in range(turns):
            self.turn()

    def online(self) -> None:
        """A paired session that is online."""
        self.settle()
        self.driver.entry(state("PAIRED"), changes=[("device", b"keys")])
        self.driver.entry(state("ONLINE", self=pb.Identity(jid="4915199@s.whatsapp.net", lid="77@lid")))
        self.settle()

    # ------------------------------------------------------------------ output

    def decoded(self, topic: str) -> list[Record]:
        return [self.codec.decode(topic, record.value) for record in self.log if record.topic == topic]

    def results(self, command_id: str) -> list[str]:
        return [each["state"] for each in self.decoded("results") if each["command_id"] == command_id]

    def states(self) -> list[str]:
        return [each["kind"].removeprefix("session.") for each in self.decoded("events.session")]


def state(name: str, **fields: Any) -> pb.Event:
    identity = fields.pop("self", None)
    body = pb.SessionState(state=name, **fields)
    if identity is not None:
        body.self.CopyFrom(identity)
    return pb.Event(received_at_ms=START_MS, state=body)


def message(message_id: str, text: str = "hi", **fields: Any) -> pb.Event:
    sender = pb.Identity(jid="88@lid", lid="88@lid", pn="491511234567@s.whatsapp.net")
    return pb.Event(
        received_at_ms=START_MS + 5,
        message=pb.IncomingMessage(
            key=pb.MessageKey(chat="88@lid", sender="88@lid", id=message_id),
            sender=sender,
            chat=sender,
            addressing_mode="lid",
            chat_kind="user",
            push_name="Ann",
            occurred_at_ms=START_MS - 1_000,
            content=pb.Content(type="text", text=text),
            **fields,
        ),
    )


def started(command_id: str, message_id: str, chat: str = "88@lid") -> pb.Event:
    recipient = pb.Identity(jid=chat, lid="88@lid", pn="491511234567@s.whatsapp.net")
    return pb.Event(
        send_started=pb.SendStarted(command_id=command_id, message_id=message_id, chat=chat, recipient=recipient)
    )


def finished(command_id: str, outcome: str = "ACKED", **fields: Any) -> pb.Event:
    return pb.Event(
        send_finished=pb.SendFinished(command_id=command_id, outcome=outcome, server_time_ms=START_MS + 9, **fields)
    )


def receipt(message_id: str, wire_type: str = "", device: int = 0) -> pb.Event:
    person = pb.Identity(jid="88@lid", lid="88@lid", pn="491511234567@s.whatsapp.net")
    return pb.Event(
        received_at_ms=START_MS + 20,
        receipt=pb.Receipt(
            chat=person,
            participant=person,
            participant_device=device,
            message_ids=[message_id],
            wire_type=wire_type,
            occurred_at_ms=START_MS + 19,
        ),
    )
