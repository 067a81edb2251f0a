"""Admitted commands, in offset order: each gets a durable fate in the transaction that moves the position past it.

The host is not asked. A command that can be done later is QUEUED; everything else ends here with its one final result.
"""

from __future__ import annotations

from connectors import amend, results
from connectors.commands import as_outgoing, check, read_command
from connectors.driver import Driver
from connectors.queue import WINDOW
from connectors.sends import FIRST_REVISION, Problem
from connectors.session import Session
from core.errors import APIError, PoisonError
from core.kafka.processor import InRecord
from core.telemetry.logs import get_logger


class Intake:
    def __init__(self, driver: Driver, message_id_secret: bytes) -> None:
        self._driver = driver
        self._secret = message_id_secret

    def take(self, session: Session, record: InRecord, now_ms: int) -> None:
        body = record.value or b""
        try:
            admitted, command = read_command(session.codec, body)
        except PoisonError as poison:
            get_logger(__name__).error(
                "command_poison", instance_id=session.instance_id, offset=record.offset, error=poison
            )
            session.dead_letter(record, poison.code, poison.message, poison.field, now_ms)
            return
        if command["command_id"] in session.queue:
            # The limiter lets no id pass twice; the one that waits is the one that counts.
            get_logger(__name__).warning(
                "command_repeated", instance_id=session.instance_id, command_id=command["command_id"]
            )
            return
        if session.gone or (session.instance is not None and session.instance["desired"] == "deleted"):
            self._end(session, command, "rejected", now_ms, Problem("api.not_found", "the instance was deleted"))
            return
        if command["type"] == "cancel":
            self._cancel(session, command, now_ms)
            return
        try:
            check(command, self._driver)
            refused = amend.problem_of(command, session.status.account, session.statuses, now_ms)
            if refused is not None:
                self._end(session, command, "rejected", now_ms, refused)
                return
            outgoing = as_outgoing(record.offset, body, admitted, command, self._secret)
            # Long queues keep the bytes only.
            outgoing.read = command if len(session.queue) < WINDOW else None
        except APIError as wrong:
            self._end(session, command, "rejected", now_ms, Problem(wrong.code, wrong.message, wrong.field))
            return
        if outgoing.type == "pair":
            if session.paired:
                self._end(
                    session, command, "rejected", now_ms, Problem("api.conflict", "the instance is paired already")
                )
                return
            for told in session.queue.supersede("pair", "a newer pair command took its place"):
                session.tell(told, now_ms)
        session.tell(session.queue.admit(outgoing), now_ms)

    def _cancel(self, session: Session, command: dict[str, object], now_ms: int) -> None:
        target = command["target_command_id"]
        told = session.queue.cancel(target if isinstance(target, str) else None)
        if told is None:
            self._end(session, command, "rejected", now_ms, Problem("api.conflict", f"too late to cancel {target}"))
            return
        session.tell(told, now_ms)
        self._end(session, command, "done", now_ms)

    def _end(
        self, session: Session, command: dict[str, object], state: str, now_ms: int, problem: Problem | None = None
    ) -> None:
        metadata = command["metadata"]
        session.tell_record(
            results.record(
                session.instance_id,
                str(command["command_id"]),
                str(command["type"]),
                state,
                final=True,
                revision=FIRST_REVISION + 1,
                now_ms=now_ms,
                problem=problem,
                metadata=dict(metadata) if isinstance(metadata, dict) else {},
                tenant=command["tenant"] if isinstance(command["tenant"], str) else None,
            )
        )
