"""Messages of contacts, and own ones sent from the phone or another companion."""

from __future__ import annotations

from connectors.contents import content, identity, message_key
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session
from core.ids import message_event_id
from core.jid import ChatKind
from core.telemetry.metrics import FOLLOWED_UP

# Types that change or accompany another message have a kind of their own; all others are new messages.
KINDS = {
    "edit": "message.edit",
    "revoke": "message.revoke",
    "reaction": "message.reaction",
    "poll_vote": "message.poll_vote",
    "event_response": "message.event_response",
    "pin": "message.pin",
    "keep": "message.keep",
    "comment": "message.comment",
    "system": "message.system",
    "disappearing_timer": "message.system",
    # The real one may follow under the same id, and its kind must differ.
    "placeholder": "message.undecryptable",
}
CHAT_KINDS = frozenset(kind.value for kind in ChatKind)
_MODES = frozenset({"pn", "lid"})


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    message = event.message
    key = message.key
    body = content(message.content)
    kind = KINDS.get(body["type"], "message.new")
    follows = None if body["type"] == "placeholder" else session.undecrypted.came((key.chat, key.sender, key.id))
    if follows is not None:
        session.metrics.counter(FOLLOWED_UP).inc()
    session.emit(
        "events.message",
        kind,
        {
            "kind": kind,
            "direction": "out" if message.from_me else "in",
            "key": message_key(key),
            "sender": identity(message.sender),
            "chat": identity(message.chat),
            "recipient": identity(message.recipient),
            "sender_device": message.sender_device,
            "addressing_mode": message.addressing_mode if message.addressing_mode in _MODES else "unknown",
            "chat_kind": message.chat_kind if message.chat_kind in CHAT_KINDS else "unknown",
            "broadcast_recipients": [],
            "push_name": message.push_name or None,
            "verified_name": message.verified_name or None,
            "client_platform": client_platform(key.id),
            "stanza_type": message.stanza_type or None,
            "media_type": message.media_type or None,
            "category": message.category or None,
            "edit": message.edit or None,
            "retry_count": message.retry_count,
            "newsletter_edited_at": message.newsletter_edited_at_ms or None,
            "unavailable_request_id": message.unavailable_request_id or None,
            "decrypt_fail_mode": None,
            "follow_up_of": follows,
            "command_id": None,
            "metadata": {},
            "content": body,
        },
        event_id=message_event_id(
            session.instance_id,
            session.generation,
            chat=key.chat,
            sender=key.sender or None,
            message_id=key.id,
            kind=kind,
            edit_time_ms=message.newsletter_edited_at_ms or None,
        ),
        occurred_at=message.occurred_at_ms,
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=key.chat,
        now_ms=now_ms,
    )


def client_platform(message_id: str) -> str:
    """A guess by the shape of the id (facts/messages.md, section 2)."""
    size = len(message_id)
    if message_id.startswith("3A") and size == 20:
        return "ios"
    if message_id.startswith("3E") and size == 22:
        return "web"
    if message_id.startswith("3F") or size == 18:
        return "desktop"
    return "android" if size in (21, 32) else "unknown"
