"""Events of the host, one handler per family, registered here by the name of the event's body in host.proto.

A handler turns one event into records of the session's transaction. It does no I/O. What it cannot express becomes a dead
letter (connectors.journal), in the same transaction as the ratchet step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import (
    chat,
    identity,
    limit,
    message,
    other,
    pairing,
    presence,
    receipt,
    send,
    state,
    undecryptable,
)
from connectors.session import Session

Handler: TypeAlias = Callable[[Session, pb.Event, int], None]

HANDLERS: dict[str, Handler] = {
    "message": message.handle,
    "undecryptable": undecryptable.handle,
    "receipt": receipt.handle,
    "state": state.handle,
    "pairing_code": pairing.handle,
    "send_started": send.handle_started,
    "send_finished": send.handle_finished,
    "identity": identity.handle,
    "limit": limit.handle,
    "other": other.handle,
    "chat": chat.handle,
    "presence": presence.handle,
}

__all__ = ["HANDLERS", "Handler"]
