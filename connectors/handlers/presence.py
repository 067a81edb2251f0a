"""Whether contacts are online, of those that a presence command subscribed to."""

from __future__ import annotations

from connectors.contents import identity
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session

KIND = "contact.presence"


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    presence = event.presence
    session.emit(
        "events.contact",
        KIND,
        {
            "kind": KIND,
            "contact": identity(presence.contact),
            "available": presence.available,
            "last_seen_at": presence.last_seen_ms or None,
        },
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=presence.contact.jid,
        now_ms=now_ms,
    )
