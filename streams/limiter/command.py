"""A command as the limiter sees it: the decoded record, where it stood, and the identity it is known by."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeAlias

Record: TypeAlias = dict[str, Any]

# What this version carries out; the rest of the enum is preview.
SUPPORTED: Final = frozenset(
    {"send", "edit", "revoke", "react", "read", "typing", "presence", "pair", "logout", "cancel"}
)
# They change or end a session, so an instance that is not online gets them too.
PASSING: Final = frozenset({"pair", "logout", "cancel"})
# They leave a message behind, so they are paced; the others only keep their place behind them.
PACED: Final = frozenset({"send", "edit", "revoke", "react"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded command, the bytes it came in and its place in `wa.commands`."""

    command: Record
    value: bytes
    partition: int
    offset: int
    timestamp_ms: int
    digest: bytes
    body_hash: bytes
    traceparent: str | None = None
    # Bytes of the whole record, where it is looked at for the first time.
    size: int = 0

    @property
    def instance_id(self) -> str:
        return str(self.command["instance_id"])

    @property
    def command_id(self) -> str:
        return str(self.command["command_id"])

    @property
    def type(self) -> str:
        return str(self.command["type"])


def digest_of(instance_id: str, command_id: str) -> bytes:
    """Short name of a command: the idempotency key is the pair, since partitions are instances'."""
    return blake2b(f"{len(instance_id)}:{instance_id}{command_id}".encode(), digest_size=16).digest()
