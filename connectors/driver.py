"""What the connector asks of a driver: many WhatsApp sessions behind one journal.

The messages of `host.proto` are the vocabulary of every driver: a driver that runs inside this process makes the same
JournalEntry and takes the same SendRequest as the one that talks to the Go host. Rules the journal carries: an entry is
committed whole or not at all, in order per session; nothing that rests on an entry leaves before `durable` named it;
after `Closed` no entry of that session comes any more; a session number is never used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from connectors.drivers.whatsmeow import host_pb2 as pb


class Capability(StrEnum):
    """What a driver can do; commands that need another one are refused with `api.validation`."""

    SEND_TEXT = "send_text"
    QUOTE = "quote"
    MENTION = "mention"
    EDIT = "edit"
    REVOKE = "revoke"
    REACT = "react"
    READ = "read"
    TYPING = "typing"
    PRESENCE = "presence"
    PAIR_QR = "pair_qr"
    PAIR_CODE = "pair_code"
    LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry and what it costs of the driver's credit."""

    session: int
    entry: pb.JournalEntry
    bytes: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is gone. `may_reopen` false: ownership is lost or the device is logged out."""

    session: int
    reason: str
    may_reopen: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The place where these sessions ran is gone: whatever they had not delivered never happened."""

    sessions: frozenset[int]
    reason: str


Delivery: TypeAlias = Entry | Closed | Lost


@dataclass(frozen=True, slots=True)
class SessionStart:
    """Everything a session needs to be opened; `items` is the committed state, not kept by the connector afterwards."""

    session: int
    instance_id: str
    simulated: bool
    settings: pb.SessionSettings
    items: Iterable[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DriverHealth:
    healthy: bool
    detail: str


class Driver(Protocol):
    """All methods return at once and may be called from any thread; nothing is promised but what `take` delivers."""

    name: str
    capabilities: frozenset[Capability]

    def available(self, simulated: bool) -> bool:
        """Whether a session may be opened now; a driver that has to start first begins to do so."""

    def open(self, start: SessionStart) -> None: ...

    def lease(self, until: float) -> None:
        """Nothing new may leave after that (monotonic seconds), a login included: sessions may be another process's by then."""

    def close(self, session: int, reason: str) -> None:
        """Close the socket at once; answered by Closed. Entries delivered before stay valid."""

    def close_all(self, reason: str) -> None: ...

    def pair(self, session: int, command_id: str, phone: str) -> None: ...

    def logout(self, session: int, command_id: str) -> None: ...

    def send(self, request: pb.Send) -> None: ...

    def mark(self, request: pb.Mark) -> None: ...

    def durable(self, positions: Sequence[tuple[int, int]]) -> None:
        """(session, position) pairs: everything up to them is committed."""

    def credit(self, session_bytes: Sequence[tuple[int, int]]) -> None:
        """(session, bytes) pairs committed: the driver may deliver as much again."""

    def forget(self, session: int) -> None:
        """Nothing of this session is outstanding any more, its credit included."""

    def take(self) -> list[Delivery]:
        """What came since the last call, in order per session."""

    def on_delivery(self, wake: Callable[[], None]) -> None:
        """Called from any thread when there is something to take."""

    def health(self) -> DriverHealth: ...

    def stop(self) -> None:
        """Close everything; returns within some seconds."""
