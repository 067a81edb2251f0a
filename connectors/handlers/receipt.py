"""Receipts: one status record per fact, with what it makes of the user's status (connectors.statuses), and the settling
of sends whose ack never came.

What says nothing about how far a message came (inactive, sender, retry …) is published with rank 0 under WhatsApp's own
word. Receipts of the account's own devices say nothing about a recipient.
"""

from __future__ import annotations

from connectors.contents import identity
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import send
from connectors.session import Session
from connectors.statuses import RANKS
from core.ids import status_event_id

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
    user = () if _is_of_two(chat["jid"]) else _addresses(receipt.participant)
    for message_id in receipt.message_ids:
        reduced = None
        if not receipt.from_me and status != "unknown":
            reduced = session.statuses.look(message_id, user, status)
        known = None if receipt.from_me else reduced.status if reduced else session.statuses.state(message_id, user)
        command = session.queue.by_message(message_id)
        body = {
            "chat": chat,
            "message_id": message_id,
            "participant": participant,
            "participant_device": receipt.participant_device,
            "status": status,
            "rank": RANKS.get(status, 0),
            "wire_type": receipt.wire_type,
            "user_status": known,
            "user_rank": RANKS[known] if known else None,
            "raised": reduced is not None and reduced.raised,
            "from_self": receipt.from_me,
            "message_sender": receipt.message_sender or None,
            "error_code": None,
            "command_id": command.command_id if command else None,
            "metadata": dict(command.metadata) if command else {},
        }
        fresh = session.emit(
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
        if fresh and reduced is not None and reduced.raised:
            session.statuses.apply(message_id, user, reduced.status)
        told = session.queue.receipt(message_id, receipt.wire_type)
        if told is not None:
            send.conclude(session, told, now_ms, at_ms=receipt.occurred_at_ms)


def _is_of_two(chat: str) -> bool:
    return chat.endswith(("@lid", "@s.whatsapp.net"))


def _addresses(person: pb.Identity) -> tuple[str, ...]:
    """The hidden id first: it stays when numbers become known."""
    return tuple(dict.fromkeys(each for each in (person.lid, person.jid, person.pn) if each))
