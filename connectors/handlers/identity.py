"""A LID and a phone number that are one person."""

from __future__ import annotations

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session
from core.ids import event_id

KIND = "contact.identity"


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    mapping = event.identity
    session.emit(
        "events.contact",
        KIND,
        {
            "kind": KIND,
            "contact": {
                "jid": mapping.lid or mapping.pn,
                "lid": mapping.lid or None,
                "pn": mapping.pn or None,
                "bsuid": None,
                "username": None,
            },
        },
        event_id=event_id(KIND, session.instance_id, session.generation, mapping.lid, mapping.pn),
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=mapping.lid or mapping.pn,
        now_ms=now_ms,
    )
