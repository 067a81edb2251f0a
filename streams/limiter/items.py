"""The items of `wa.limits`: what the limiter must know after a restart, one record per changed item.

Key = one letter for the kind, then the name; value None is a tombstone.
    s <day> <digest>    a command that was decided: body hash, where it stood, its last result
    h <digest>          a command that is held: its bytes and when it may go, must go, must end
    o <instance>        whether the instance is online, as its session last said
    c <instance>        counters of the instance's limits
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from core.errors import DBError
from streams.limiter.command import Arrival, Record

DAY_MS: Final = 86_400_000

SEEN, HELD, ONLINE, COUNTERS = b"s", b"h", b"o", b"c"
_VERSION = 1
_DAY = struct.Struct(">H")
_SEEN = struct.Struct(">BBIqq32s")
_HELD = struct.Struct(">BI")


@dataclass(frozen=True, slots=True)
class Seen:
    """A decided command. `result` is the value of its last result in `wa.results`, to be told again to a duplicate."""

    body_hash: bytes
    offset: int
    timestamp_ms: int
    revision: int
    final: bool
    result: bytes

    @property
    def day(self) -> int:
        return self.timestamp_ms // DAY_MS

    def pack(self) -> bytes:
        return (
            _SEEN.pack(_VERSION, self.final, self.revision, self.offset, self.timestamp_ms, self.body_hash)
            + self.result
        )

    def ended(self, revision: int, result: bytes) -> Seen:
        """The same command with its final result."""
        return replace(self, revision=revision, final=True, result=result)


def unpack_seen(value: bytes) -> Seen:
    if len(value) < _SEEN.size or value[0] != _VERSION:
        raise DBError("db.state_corrupt", "a seen command in wa.limits cannot be read")
    _, final, revision, offset, timestamp_ms, body_hash = _SEEN.unpack_from(value)
    return Seen(body_hash, offset, timestamp_ms, revision, bool(final), value[_SEEN.size :])


@dataclass(frozen=True, slots=True)
class Held:
    """A command that waits. Its bytes are kept beside it, in the store.

    `due_ms` is the time it takes its place in the order; `deadline_ms` ends the wait; `generation` is the instance it
    waits for, None while the instance is not known, and then `grace_until_ms` ends that.
    """

    instance_id: str
    command_id: str
    type: str
    offset: int
    timestamp_ms: int
    body_hash: bytes
    due_ms: int
    deadline_ms: int
    expires_at_ms: int | None
    grace_until_ms: int
    generation: int | None
    reason: str
    size: int
    traceparent: str | None = None

    def pack(self, command: bytes) -> bytes:
        head = orjson.dumps({name: getattr(self, name) for name in _HELD_FIELDS} | {"body_hash": self.body_hash.hex()})
        return _HELD.pack(_VERSION, len(head)) + head + command

    def adopted(self, generation: int) -> Held:
        """The same command, waiting for this generation of its instance."""
        return replace(self, generation=generation)

    def set_back(self, by_ms: int, before_ms: int) -> Held:
        """The clock, which showed `before_ms`, was set back: its waits last no longer, its times of day stay."""
        return replace(
            self,
            due_ms=self.due_ms - by_ms if self.due_ms <= before_ms else self.due_ms,
            deadline_ms=self.deadline_ms if self.deadline_ms == self.expires_at_ms else self.deadline_ms - by_ms,
            grace_until_ms=self.grace_until_ms - by_ms,
        )

    def arrival(self, command: Record, value: bytes, partition: int, digest: bytes) -> Arrival:
        """The command as it was when it came."""
        return Arrival(
            command, value, partition, self.offset, self.timestamp_ms, digest, self.body_hash, self.traceparent
        )


_HELD_FIELDS = tuple(name for name in Held.__slots__ if name != "body_hash")


def unpack_held(value: bytes) -> tuple[Held, bytes]:
    """The held command and its bytes."""
    if len(value) < _HELD.size or value[0] != _VERSION:
        raise DBError("db.state_corrupt", "a held command in wa.limits cannot be read")
    length = _HELD.unpack_from(value)[1]
    body = _HELD.size + length
    fields: dict[str, Any] = orjson.loads(value[_HELD.size : body])
    return Held(**{**fields, "body_hash": bytes.fromhex(fields["body_hash"])}), value[body:]


@dataclass(frozen=True, slots=True)
class OnlineMark:
    """What the session of one generation last said."""

    generation: int
    online: bool

    def pack(self) -> bytes:
        return orjson.dumps({"generation": self.generation, "online": self.online})


def unpack_online(value: bytes) -> OnlineMark:
    fields = orjson.loads(value)
    return OnlineMark(int(fields["generation"]), bool(fields["online"]))


@dataclass(frozen=True, slots=True)
class Counters:
    """What the limits of one instance count. `paced_at_ms`: when its last paced command left."""

    paced_at_ms: int = 0

    def pack(self) -> bytes:
        return orjson.dumps({"paced_at_ms": self.paced_at_ms})


def unpack_counters(value: bytes) -> Counters:
    return Counters(**orjson.loads(value))


def seen_key(day: int, digest: bytes) -> bytes:
    return SEEN + _DAY.pack(day) + digest


def split_seen_key(key: bytes) -> tuple[int, bytes]:
    """Day and digest."""
    return _DAY.unpack_from(key, 1)[0], key[3:]


def held_key(digest: bytes) -> bytes:
    return HELD + digest


def online_key(instance_id: str) -> bytes:
    return ONLINE + instance_id.encode()


def counters_key(instance_id: str) -> bytes:
    return COUNTERS + instance_id.encode()
