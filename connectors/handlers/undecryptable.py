"""What could not be decrypted. WhatsApp has its ack already; the real message may follow under the same id."""

from __future__ import annotations

from connectors.contents import identity, message_key, placeholder
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers.message import CHAT_KINDS, client_platform
from connectors.session import Session
from core.ids import message_event_id
from core.telemetry.metrics import UNDECRYPTABLE

KIND = "message.undecryptable"
# Only the phone shows these.
_NEVER_COMES = frozenset({"view_once"})


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    message = event.undecryptable
    key = message.key
    identifying = message_event_id(
        session.instance_id,
        session.generation,
        chat=key.chat,
        sender=key.sender or None,
        message_id=key.id,
        kind=KIND,
    )
    told = session.emit(
        "events.message",
        KIND,
        {
            "kind": KIND,
            "direction": "out" if key.from_me else "in",
            "key": message_key(key),
            "sender": identity(message.sender),
            "chat": identity(message.chat),
            "recipient": None,
            "sender_device": message.sender_device,
            "addressing_mode": message.addressing_mode if message.addressing_mode in ("pn", "lid") else "unknown",
            "chat_kind": message.chat_kind if message.chat_kind in CHAT_KINDS else "unknown",
            "push_name": message.push_name or None,
            "client_platform": client_platform(key.id),
            "decrypt_fail_mode": message.decrypt_fail_mode or None,
            "content": placeholder(message.reason or "decrypt_failed"),
        },
        event_id=identifying,
        occurred_at=message.occurred_at_ms,
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=key.chat,
        now_ms=now_ms,
    )
    if not told:
        return
    reason = message.reason or "decrypt_failed"
    session.metrics.counter(UNDECRYPTABLE).labels(reason=reason).inc()
    if reason in _NEVER_COMES:
        session.undecrypted.count()
    else:
        session.undecrypted.add((key.chat, key.sender, key.id), identifying, now_ms + session.follow_up_ms)
