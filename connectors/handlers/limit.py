"""Restrictions of the account by WhatsApp: events for whoever paces the sending, and a word in the session's status."""

from __future__ import annotations

from dataclasses import replace

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session
from core.ids import event_id

TIMELOCK = "timelock"


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    """WhatsApp's notice of a reach-out time lock, or of its end."""
    notice = event.limit
    until = notice.until_ms or None
    if not notice.active:
        session.become(replace(session.status, limit=None))
        kind = "lifted"
    else:
        session.become(replace(session.status, limit=(notice.kind, until)))
        kind = notice.kind
    publish(
        session,
        kind,
        now_ms,
        reason=notice.reason or None,
        until_ms=until,
        identity=event_id(
            "limit",
            session.instance_id,
            session.generation,
            kind,
            notice.reason,
            notice.until_ms,
            notice.occurred_at_ms,
        ),
        occurred_at=notice.occurred_at_ms,
        received_at=event.received_at_ms,
    )


def publish(
    session: Session,
    kind: str,
    now_ms: int,
    *,
    reason: str | None = None,
    reason_code: int | None = None,
    until_ms: int | None = None,
    command_id: str | None = None,
    identity: str | None = None,
    occurred_at: int = 0,
    received_at: int = 0,
) -> None:
    """`kind` is a symbol of wharf.LimitKind."""
    session.emit(
        "events.limit",
        f"limit.{kind}",
        {
            "kind": f"limit.{kind}",
            "limit": kind,
            "reason": reason,
            "reason_code": reason_code,
            "until": until_ms,
            "command_id": command_id,
        },
        event_id=identity,
        occurred_at=occurred_at,
        received_at=received_at,
        subject=kind,
        now_ms=now_ms,
    )
