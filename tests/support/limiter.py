"""Commands, instances and one partition of the limiter, driven without Kafka."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from core.envelope import envelope
from core.kafka.codec import Codec
from core.kafka.processor import OutRecord
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue
from streams.limiter.command import Arrival, digest_of
from streams.limiter.limits import Facts, Policy
from streams.limiter.partition import Partition
from streams.limiter.records import Writer
from streams.limiter.state import State
from streams.limiter.store import Store

CODEC = Codec(MemoryRegistry(), catalogue().by_topic)
T0 = 1_700_000_000_000


def command(command_id: str, instance_id: str = "sales-1", type_: str = "send", **fields: Any) -> dict[str, Any]:
    """A command as a person would write it in JSON; a send has a recipient and a text unless given."""
    record: dict[str, Any] = {"command_id": command_id, "instance_id": instance_id, "type": type_, **fields}
    if type_ == "send":
        record.setdefault("to", "+4915112345678")
        record.setdefault("content", {"type": "text", "text": "hello"})
    if type_ == "typing":
        record.setdefault("to", "+4915112345678")
        record.setdefault("presence", "composing")
    return record


def as_json(record: dict[str, Any]) -> bytes:
    return orjson.dumps(record)


def as_avro(record: dict[str, Any]) -> bytes:
    return CODEC.encode("commands", CODEC.decode_command(as_json(record)))


def arrival(value: bytes, offset: int, timestamp_ms: int = T0, partition: int = 0) -> Arrival:
    record = CODEC.decode_command(value)
    return Arrival(
        record,
        value,
        partition,
        offset,
        timestamp_ms,
        digest_of(record["instance_id"], record["command_id"]),
        bytes.fromhex(CODEC.command_hash(record)),
    )


def session_event(instance_id: str, generation: int, state: str) -> dict[str, Any]:
    return {
        "envelope": envelope(
            event_id="e", instance_id=instance_id, generation=generation, occurred_at=T0, received_at=T0
        ),
        "kind": f"session.{state}",
        "state": state,
    }


@dataclass
class FakeInstances:
    """`wa.instances` as a dict."""

    known: dict[str, Facts] = field(default_factory=dict)

    def facts(self, instance_id: str) -> Facts | None:
        return self.known.get(instance_id)


@dataclass
class Bench:
    """One partition and what it wrote; `restart` replays the items it wrote."""

    folder: Path
    policy: Policy = field(default_factory=Policy)
    instances: FakeInstances = field(default_factory=FakeInstances)
    log: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    files: int = 0

    def __post_init__(self) -> None:
        self.partition = self.fresh()

    def fresh(self) -> Partition:
        self.files += 1
        state = State(Store(self.folder / f"{self.files}.sqlite"), self.instances)
        return Partition(0, state, CODEC, Writer(CODEC), self.policy, lambda outcome: self.decisions.update([outcome]))

    def command(self, arrived: Arrival, now_ms: int) -> None:
        """As the processor does it: the time of a command is settled when it is read."""
        at = self.partition.time_of(arrived.timestamp_ms, now_ms)
        self.partition.command(replace(arrived, timestamp_ms=at), now_ms)

    def take(self) -> list[OutRecord]:
        """Commit: what was written since the last time."""
        records = self.partition.take()
        self.log.extend((r.key or b"", r.value) for r in records if r.topic == "limits")
        return records

    def restored(self, *, compacted: bool = False) -> Partition:
        """A partition made from the items alone."""
        other = self.fresh()
        entries = self.log
        if compacted:
            newest = {key: index for index, (key, _) in enumerate(self.log)}
            entries = [entry for index, entry in enumerate(self.log) if newest[entry[0]] == index]
        for key, value in entries:
            other.state.restore(key, value)
        return other

    def restart(self, position: int | None, now_ms: int, *, compacted: bool = False) -> None:
        self.partition.state.close()
        self.partition = self.restored(compacted=compacted)
        self.partition.started(position, now_ms)


def results(records: list[OutRecord]) -> list[dict[str, Any]]:
    return [CODEC.decode("results", r.value) for r in records if r.topic == "results"]


def admitted(records: list[OutRecord]) -> list[dict[str, Any]]:
    return [CODEC.decode("commands.admitted", r.value) for r in records if r.topic == "commands.admitted"]


def snapshot(state: State) -> dict[str, Any]:
    """Everything a state knows, for comparison."""
    state._store.flush()
    store = state._store
    return {
        "seen": sorted(store._db.execute("SELECT day, digest, stood, value FROM seen")),
        "bodies": sorted(store._db.execute("SELECT digest, value FROM held")),
        "days": store.days(),
        "held": {
            instance_id: [(digest, queue.get(digest)) for digest in queue]
            for instance_id, queue in state._queues.items()
        },
        "sizes": {instance_id: (len(queue), queue.size) for instance_id, queue in state._queues.items()},
        "online": dict(state._online),
        "counters": dict(state._counters),
    }
