"""When a session is opened, closed, rebuilt and deleted. One step per session and turn; everything in memory is
committed at the beginning of a turn, because the loop collects only when no batch is in flight.

    CLOSED ──> READING ──> CLAIMING ──(commit)──> OPEN ──> CLOSING ──> CLOSED
       └── items at hand ──────┘                    └── closed or lost ──┘

A session is only ever opened on committed state, under a new epoch that was committed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from connectors import gaps
from connectors.driver import Closed, Driver, SessionStart
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers.state import announce
from connectors.sends import Problem
from connectors.session import Phase, Session
from connectors.state_items import ARCHIVE, OWN, data_key_record_key, open_all, split_key
from connectors.state_reader import Loaded
from connectors.status import wanted
from core.faults import Faults
from core.kafka.processor import OutRecord
from core.security.keyring import Keyring
from core.telemetry.logs import get_logger

RECONNECT_AFTER_MS = (500, 1_000, 2_000, 5_000, 15_000, 30_000, 60_000, 120_000, 300_000)
# How long the records of wa.instances may be behind a command that the limiter admitted by them.
UNKNOWN_INSTANCE_MS = 30_000
# How long a deleted instance may take to unlink its device.
LOGOUT_MS = 10_000
# A host or a simulator that is not there is asked for again this often.
_HOST_MS = 250
# Reasons of a close that say nothing about what is wrong.
_ON_PURPOSE = frozenset({"requested"})
ROTATION = OWN + "rotation"


class Purpose(StrEnum):
    """Why the items of an instance are being read."""

    OPEN = "open"
    ARCHIVE = "archive"
    DELETE = "delete"


Read = Callable[[int, str], None]
Jitter = Callable[[], float]


class Lifecycle:
    """Moves sessions along; `wake(session, at_ms)` asks for another step at that time."""

    def __init__(
        self,
        driver: Driver,
        keyring: Keyring,
        read: Read,
        wake: Callable[[Session, int], None],
        jitter: Jitter,
        faults: Faults,
        *,
        simulator_enabled: bool,
    ) -> None:
        self._driver = driver
        self._keyring = keyring
        self._read = read
        self._wake = wake
        self._jitter = jitter
        self._faults = faults
        self._simulator_enabled = simulator_enabled
        self._next_number = 1

    # ------------------------------------------------------------------ each turn

    def step(self, session: Session, now_ms: int) -> None:
        if session.gone:
            if session.instance is None or session.instance["desired"] == "deleted":
                return
            session.gone = False
        if self._is_leaving(session, now_ms):
            self._leave(session, now_ms)
            return
        if session.instance is None:
            return
        self._follow_up(session, now_ms)
        if session.status.generation == 0:
            announce(session, "created", "new instance", now_ms)
        self._rotate(session)
        want = wanted(
            session.instance,
            session.status,
            pairing_asked=session.status.state == "logged_out" and session.queue.has("pair"),
            simulator_enabled=self._simulator_enabled,
            now_ms=now_ms,
        )
        if want.at_ms is not None:
            self._wake(session, want.at_ms)
        if want.open:
            if session.phase is Phase.CLOSED:
                self._begin_open(session, now_ms)
        elif session.phase is Phase.OPEN:
            self.close(session, want.reason)
        elif session.phase is Phase.CLOSED and want.reason == "stopped" and session.status.state != "stopped":
            announce(session, "stopped", "the instance is to be stopped", now_ms)
        elif session.phase is Phase.CLOSED:
            session.last_error = session.last_error or want.reason

    def _follow_up(self, session: Session, now_ms: int) -> None:
        gaps.overdue(session, now_ms)
        at = session.undecrypted.wake_at()
        if at is not None and at != session.overdue_at_ms:
            session.overdue_at_ms = at
            self._wake(session, at)

    def close(self, session: Session, reason: str) -> None:
        session.phase = Phase.CLOSING
        self._driver.close(session.number, reason)

    def closed(self, session: Session, closed: Closed, now_ms: int) -> None:
        """The host has nothing of it any more; what it had delivered before is in this or an earlier batch."""
        session.phase, session.online, session.number, session.leaving = Phase.CLOSED, False, 0, None
        for told in session.queue.session_ended(now_ms):
            session.tell(told, now_ms)
        stays = session.status.state in ("logged_out", "replaced", "banned", "outdated", "failed")
        if not closed.may_reopen and not stays:
            state = "replaced" if closed.reason == "replaced" else "failed"
            announce(session, state, closed.reason, now_ms, blocked=True)
        elif not closed.may_reopen and session.status.state != "logged_out" and session.status.until_ms is None:
            session.become(replace(session.status, blocked=True))
        elif not stays and session.status.state != "offline" and _wants_online(session):
            announce(session, "offline", closed.reason, now_ms)
        if closed.may_reopen:
            wait = RECONNECT_AFTER_MS[min(session.attempts, len(RECONNECT_AFTER_MS) - 1)]
            session.attempts += 1
            if closed.reason not in _ON_PURPOSE:
                session.last_error = f"session closed: {closed.reason}; opened again by itself"
            session.open_at_ms = now_ms + int(wait * (0.5 + self._jitter()))
            self._wake(session, session.open_at_ms)

    def loaded(self, session: Session, loaded: Loaded, now_ms: int) -> None:
        """The items asked for are here; an answer that nobody waits for any more is dropped."""
        purpose, session.purpose = session.purpose, None
        if purpose is Purpose.OPEN and session.phase is Phase.READING:
            session.stored = _without_data_key(session, loaded)
            session.phase = Phase.CLOSED
        elif purpose is Purpose.ARCHIVE:
            session.leaving = _without_data_key(session, loaded)
        elif purpose is Purpose.DELETE and session.phase is Phase.READING:
            session.phase = Phase.CLOSED
            self._wipe(session, loaded, now_ms)

    def read_for_archive(self, session: Session) -> None:
        if session.purpose is None:
            session.purpose = Purpose.ARCHIVE
            self._read(session.partition, session.instance_id)

    # ------------------------------------------------------------------ opening

    def _begin_open(self, session: Session, now_ms: int) -> None:
        assert session.instance is not None
        if now_ms < session.open_at_ms:
            self._wake(session, session.open_at_ms)
            return
        if not self._driver.available(session.simulated):
            session.last_error = "waiting for the session host"
            self._wake(session, now_ms + _HOST_MS)
            return
        if session.stored is None:
            session.phase, session.purpose = Phase.READING, Purpose.OPEN
            self._read(session.partition, session.instance_id)
            return
        session.phase = Phase.CLAIMING
        session.begin_epoch(0 if "epoch" in self._faults.mutants else 1)
        for told in session.queue.session_ended(now_ms):
            session.tell(told, now_ms)

    def claimed(self, session: Session) -> int:
        """The new epoch is committed: open it. Gives the session's number at the host."""
        assert session.instance is not None
        assert session.stored is not None
        items = open_all(session.data_key, session.stored) if session.data_key is not None else {}
        session.stored = None
        device = {name: value for name, value in items.items() if not name.startswith((OWN, ARCHIVE))}
        if session.writer is not None:
            session.writer.know(device)
        session.number, self._next_number = self._next_number, self._next_number + 1
        session.phase, session.next_position, session.paired, session.broken = Phase.OPEN, 1, None, False
        settings = session.instance["settings"]
        self._driver.open(
            SessionStart(
                session=session.number,
                instance_id=session.instance_id,
                simulated=session.simulated,
                settings=pb.SessionSettings(
                    active_receipts=settings.get("active_receipts") == "true",
                    proxy=session.instance["proxy"] or "",
                    device_name=settings.get("device_name", ""),
                    keep_raw=settings.get("keep_raw") == "true",
                    push_name=settings.get("push_name") or session.instance["label"] or "",
                ),
                items=device.items(),
            )
        )
        get_logger(__name__).info(
            "session_opens",
            instance_id=session.instance_id,
            session=session.number,
            epoch=session.epoch,
            simulated=session.simulated,
            items=len(device),
        )
        return session.number

    def _rotate(self, session: Session) -> None:
        """A rotation asked for through the instance: the data key is wrapped anew by the first key-encryption key."""
        assert session.instance is not None
        asked = session.instance["data_key_rotation"]
        if asked is not None and asked != session.rotation and session.data_key is not None:
            session.use_key(session.data_key, self._keyring.wrap(session.data_key))
            session.rotation = asked
            session.put(ROTATION, asked.encode())

    # ------------------------------------------------------------------ leaving

    def _is_leaving(self, session: Session, now_ms: int) -> bool:
        instance = session.instance
        if instance is None:
            since = session.unknown_since_ms
            if since is None:
                session.unknown_since_ms = since = now_ms
            if session.known_gone or now_ms - since >= UNKNOWN_INSTANCE_MS:
                return True
            self._wake(session, since + UNKNOWN_INSTANCE_MS)
            return False
        session.unknown_since_ms = None
        other = session.status.generation not in (0, instance["generation"])
        return other or instance["desired"] == "deleted"

    def _leave(self, session: Session, now_ms: int) -> None:
        """Unlink the device if that is possible soon, close, then remove everything there is."""
        if session.phase is Phase.OPEN:
            if not session.online or not session.paired:
                self.close(session, "deleted")
            elif session.logout_deadline_ms is None:
                session.logout_deadline_ms = now_ms + LOGOUT_MS
                self._driver.logout(session.number, "")
                self._wake(session, session.logout_deadline_ms)
            elif now_ms >= session.logout_deadline_ms:
                self.close(session, "deleted")
        elif session.phase is Phase.CLOSED:
            session.stored = None
            session.phase, session.purpose = Phase.READING, Purpose.DELETE
            self._read(session.partition, session.instance_id)

    def _wipe(self, session: Session, loaded: Loaded, now_ms: int) -> None:
        deleted = session.status.generation != 0
        problem = Problem("api.not_found", "the instance was deleted" if deleted else "no such instance")
        for told in session.queue.abandon(problem, "cancelled" if deleted else "rejected"):
            session.tell(told, now_ms)
        if deleted:
            announce(session, "stopped", "deleted", now_ms)
        session.wipe()
        for key, _ in loaded.records:
            session.publish(OutRecord("sessions", key, None, partition=session.partition))
        session.publish(
            OutRecord("sessions", data_key_record_key(session.instance_id), None, partition=session.partition)
        )
        get_logger(__name__).info("instance_wiped", instance_id=session.instance_id, records=len(loaded.records))


def _wants_online(session: Session) -> bool:
    return session.instance is not None and session.instance["desired"] == "online"


def _without_data_key(session: Session, loaded: Loaded) -> list[tuple[bytes, bytes]]:
    own = data_key_record_key(session.instance_id)
    return [(key, value) for key, value in loaded.records if key != own and split_key(key)[0] == session.instance_id]
