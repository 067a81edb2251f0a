"""Receipts: one status record per (message, participant), and the settling of sends whose ack never came.

The rank is that of the monotone machine: a reader keeps the highest per message and participant. What says nothing
about how far a message came (inactive, sender, retry …) is published with rank 0 under WhatsApp's own word.
"""

from __future__ import annotations

from connectors.contents import identity
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import send
from connectors.session import Session
from core.ids import status_event_id

RANKS = {"pending": 0, "sending": 1, "failed": 1, "server_ack": 2, "delivered": 3, "read": 4, "played": 5, "unknown": 0}
_STATUS = {
    "": "delivered",
    "read": "read",
    "read-self": "read",
    "played": "played",
    "played-self": "played",
}


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    receipt = event.receipt
    status = _STATUS.get(receipt.wire_type, "unknown")
    participant = identity(receipt.participant)
    chat = identity(receipt.chat)
    if chat is None:
        chat = {"jid": "", "lid": None, "pn": None, "bsuid": None, "username": None}
    for message_id in receipt.message_ids:
        command = session.queue.by_message(message_id)
        body = {
            "chat": chat,
            "message_id": message_id,
            "participant": participant,
            "participant_device": receipt.participant_device,
            "status": status,
            "rank": RANKS[status],
            "wire_type": receipt.wire_type,
            "from_self": receipt.from_me,
            "message_sender": receipt.message_sender or None,
            "error_code": None,
            "command_id": command.command_id if command else None,
            "metadata": dict(command.metadata) if command else {},
        }
        session.emit(
            "events.status",
            f"status.{receipt.wire_type or 'delivered'}",
            body,
            event_id=status_event_id(
                session.instance_id,
                session.generation,
                chat=receipt.chat.jid,
                sender=receipt.message_sender or None,
                message_id=message_id,
                participant=receipt.participant.jid,
                device=receipt.participant_device,
                status=receipt.wire_type,
            ),
            occurred_at=receipt.occurred_at_ms,
            received_at=event.received_at_ms,
            origin=event.origin,
            subject=message_id,
            now_ms=now_ms,
        )
        told = session.queue.receipt(message_id, receipt.wire_type)
        if told is not None:
            send.conclude(session, told, now_ms, at_ms=receipt.occurred_at_ms)
