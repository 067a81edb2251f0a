"""What the driver delivers, into the sessions' transactions: entries in order, whole, fairly over all sessions.

Content never tears a session down: an event that cannot be expressed becomes a dead letter next to the ratchet step
that came with it. Only a break of the journal's own rules does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from connectors.driver import Closed, Delivery, Driver, Entry, Lost
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import HANDLERS
from connectors.lifecycle import Lifecycle
from connectors.session import Phase, Session
from connectors.state_items import ARCHIVE, OWN
from core.errors import APIError
from core.kafka.processor import InRecord
from core.telemetry.logs import get_logger

# Per turn: what one transaction carries at most.
MAX_ENTRIES = 2_000
MAX_BYTES = 4 * 1024 * 1024
# Origin of dead letters that came from no topic.
ORIGIN = "host"
_LOGGED_OUT = pb.SessionState.State.LOGGED_OUT

# What a handler raises for content it cannot express: a field that does not fit, a size, an address nobody knows.
UNFIT = (APIError, ValueError, TypeError, LookupError, OverflowError)


class JournalError(Exception):
    """The host broke the rules of the journal: the session is rebuilt from committed state."""


class Journal:
    """`numbers` maps the host's session numbers to sessions."""

    def __init__(self, driver: Driver, lifecycle: Lifecycle, numbers: dict[int, Session]) -> None:
        self._driver = driver
        self._lifecycle = lifecycle
        self._numbers = numbers
        self._turn: deque[Session] = deque()
        self.backlog_bytes = 0

    def receive(self, deliveries: Iterable[Delivery]) -> None:
        """Sort what came to its sessions. What belongs to no session any more only gives its credit back."""
        for delivery in deliveries:
            if isinstance(delivery, Lost):
                for number in delivery.sessions:
                    self._lost(number, delivery.reason)
                continue
            session = self._numbers.get(delivery.session)
            if session is None:
                if isinstance(delivery, Entry):
                    self._driver.credit([(delivery.session, delivery.bytes)])
                else:
                    self._driver.forget(delivery.session)
                continue
            if isinstance(delivery, Entry):
                self.backlog_bytes += delivery.bytes
            if not session.waiting:
                self._turn.append(session)
            session.waiting.append(delivery)

    def fill(self, now_ms: int) -> set[Session]:
        """Handle what waits, one delivery per session and round, until a transaction is full; the sessions touched."""
        touched: set[Session] = set()
        held: list[Session] = []
        entries = size = 0
        while self._turn and entries < MAX_ENTRIES and size < MAX_BYTES:
            session = self._turn.popleft()
            if not session.waiting:
                continue
            delivery = session.waiting[0]
            if isinstance(delivery, Entry) and session.leaving is None and _logs_out(delivery.entry):
                # Its archive is made from what is committed: everything before has to be.
                if session not in touched:
                    self._lifecycle.read_for_archive(session)
                held.append(session)
                continue
            session.waiting.popleft()
            touched.add(session)
            if isinstance(delivery, Closed):
                self._lifecycle.closed(session, delivery, now_ms)
                session.ended = delivery.session
                self._numbers.pop(delivery.session, None)
            else:
                entries += 1
                size += delivery.bytes
                self._handle(session, delivery, now_ms)
            if session.waiting:
                self._turn.append(session)
        self._turn.extend(held)
        return touched

    def drop(self, sessions: set[Session]) -> None:
        """These are not ours any more; what waited of them only gives its credit back."""
        self._turn = deque(session for session in self._turn if session not in sessions)
        for session in sessions:
            for delivery in session.waiting:
                if isinstance(delivery, Entry):
                    self.backlog_bytes -= delivery.bytes
                    self._driver.credit([(delivery.session, delivery.bytes)])
            session.waiting.clear()

    @property
    def has_more(self) -> bool:
        return any(session.waiting and session.purpose is None for session in self._turn)

    def _lost(self, number: int, reason: str) -> None:
        session = self._numbers.get(number)
        if session is None:
            return
        for delivery in session.waiting:
            if isinstance(delivery, Entry):
                self.backlog_bytes -= delivery.bytes
        if not session.waiting:
            self._turn.append(session)
        session.waiting.clear()
        session.waiting.append(Closed(number, reason, True))

    def _handle(self, session: Session, delivery: Entry, now_ms: int) -> None:
        entry = delivery.entry
        self.backlog_bytes -= delivery.bytes
        session.taken_bytes += delivery.bytes
        if session.phase is Phase.CLOSING and session.broken:
            return
        try:
            _check(session, entry)
        except JournalError as broken:
            get_logger(__name__).error(
                "journal_broken", instance_id=session.instance_id, session=delivery.session, error=broken
            )
            session.broken = True
            self._lifecycle.close(session, "journal broken")
            return
        session.next_position += 1
        for change in entry.changes:
            if change.tombstone:
                session.remove(change.name)
            else:
                session.put(change.name, change.value)
        for event in entry.events:
            self._event(session, entry, event, now_ms)
        if entry.events:
            session.received_ms = entry.events[0].received_at_ms

    def _event(self, session: Session, entry: pb.JournalEntry, event: pb.Event, now_ms: int) -> None:
        body = event.WhichOneof("body")
        handler = HANDLERS.get(body or "")
        try:
            if handler is None:
                raise ValueError(f"an event without a handler: {body}")
            handler(session, event, now_ms)
        except UNFIT as cause:
            get_logger(__name__).exception("event_unfit", instance_id=session.instance_id, family=body)
            _bury(session, entry, event, cause, now_ms)


def _bury(session: Session, entry: pb.JournalEntry, event: pb.Event, cause: Exception, now_ms: int) -> None:
    origin = InRecord(
        topic=ORIGIN,
        partition=session.partition,
        offset=entry.position,
        timestamp_ms=event.received_at_ms,
        key=session.key,
        value=event.SerializeToString(),
    )
    if isinstance(cause, APIError):
        session.dead_letter(origin, cause.code, cause.message, cause.field, now_ms)
    else:
        session.dead_letter(origin, "api.validation", f"{type(cause).__name__}: {cause}", None, now_ms)


def _logs_out(entry: pb.JournalEntry) -> bool:
    return any(event.HasField("state") and event.state.state == _LOGGED_OUT for event in entry.events)


def _check(session: Session, entry: pb.JournalEntry) -> None:
    if entry.position != session.next_position:
        raise JournalError(f"position {entry.position} instead of {session.next_position}")
    for change in entry.changes:
        if change.name.startswith((OWN, ARCHIVE)):
            raise JournalError(f"the host may not write {change.name!r}")
