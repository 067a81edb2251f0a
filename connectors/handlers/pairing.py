"""QR texts and pairing codes: secrets, on a topic of their own that is kept for an hour."""

from __future__ import annotations

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.session import Session


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    code = event.pairing_code
    session.emit(
        "pairing",
        "pairing.code" if code.code else "pairing.qr",
        {
            "qr": code.qr_codes[0] if code.qr_codes else None,
            "code": code.code or None,
            "expires_at": code.expires_at_ms or None,
            "index": code.index or 1,
            "total": code.total or max(1, len(code.qr_codes)),
            "command_id": code.command_id or None,
        },
        received_at=event.received_at_ms,
        now_ms=now_ms,
    )
