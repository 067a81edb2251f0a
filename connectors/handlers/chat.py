"""What happens in a chat beside messages: typing, and changes of its disappearing timer."""

from __future__ import annotations

from connectors.contents import identity
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session
from core.ids import event_id

_TYPING = frozenset({"composing", "recording", "paused"})


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    chat = event.chat
    kind = f"chat.{chat.kind}"
    timed = chat.HasField("timer_s")
    session.emit(
        "events.chat",
        kind,
        {
            "kind": kind,
            "chat": identity(chat.chat),
            "actor": identity(chat.actor),
            "typing": (chat.typing if chat.typing in _TYPING else "unknown") if chat.typing else None,
            "timer_s": chat.timer_s if timed else None,
            "timer_set_at": chat.timer_set_at_ms or None,
        },
        # A timer is set once; typing comes from a stanza without an id.
        event_id=event_id(
            kind, session.instance_id, session.generation, chat.chat.jid, chat.timer_s, chat.timer_set_at_ms
        )
        if timed
        else None,
        occurred_at=chat.occurred_at_ms,
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=chat.chat.jid,
        now_ms=now_ms,
    )
