"""Events whose family has no record yet: published as they are, so that nothing is dropped in silence."""

from __future__ import annotations

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session
from core.ids import event_id

KIND = "session.other"


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    other = event.other
    identifying = None
    if other.identity:
        identifying = event_id("other", session.instance_id, session.generation, other.type, other.identity)
    session.emit(
        "events.session",
        KIND,
        {"kind": KIND, "state": "unknown", "reason": other.type, "details": other.json or None},
        event_id=identifying,
        occurred_at=other.occurred_at_ms,
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=other.type,
        now_ms=now_ms,
    )
