"""Admitted commands: what they ask for, whether the driver can do it, and the request to the driver. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.contents import outgoing
from connectors.driver import Capability, Driver
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.sends import MARKS, MESSAGES, Outgoing, State
from core.errors import APIError
from core.ids import message_id
from core.jid import parse_phone, parse_recipient
from core.kafka.codec import Codec

# Lanes of what concerns no chat.
SESSION_LANE = "\x00session"
PRESENCE_LANE = "\x00presence"
HANDLED = MESSAGES | MARKS | {"pair", "logout"}

# What is shown for a moment means nothing later: typing and presence that have no expiry of their own end after this.
MOMENT_MS = 60_000

_CAPABILITY = {
    "send": Capability.SEND_TEXT,
    "edit": Capability.EDIT,
    "revoke": Capability.REVOKE,
    "react": Capability.REACT,
    "read": Capability.READ,
    "typing": Capability.TYPING,
    "presence": Capability.PRESENCE,
    "logout": Capability.LOGOUT,
}
_TYPING = frozenset({"composing", "recording", "paused"})
_PRESENCE = frozenset({"available", "unavailable", "subscribe"})

Record = dict[str, Any]


def read_command(codec: Codec, body: bytes) -> tuple[Record, Record]:
    """(AdmittedCommand, Command). PoisonError when either cannot be decoded."""
    admitted = codec.decode("commands.admitted", body)
    return admitted, codec.decode_command(admitted["command"])


def reread(codec: Codec, command: Outgoing) -> Record:
    """What a queued command says."""
    return read_command(codec, command.body)[1] if command.read is None else command.read


def parser(codec: Codec, secret: bytes) -> Callable[[int, bytes], Outgoing]:
    """Reads a stored command again, as it was read when it was admitted."""

    def parse(offset: int, body: bytes) -> Outgoing:
        admitted, command = read_command(codec, body)
        return as_outgoing(offset, body, admitted, command, secret)

    return parse


def as_outgoing(offset: int, body: bytes, admitted: Record, command: Record, secret: bytes) -> Outgoing:
    kind = command["type"]
    return Outgoing(
        offset=offset,
        body=body,
        command_id=command["command_id"],
        type=kind,
        lane=_lane(command),
        message_id=message_id(secret, command["instance_id"], command["command_id"]) if kind in MESSAGES else None,
        admitted_at=admitted["admitted_at"],
        expires_at=_expires_at(admitted, command),
        hold=command["on_unknown"] == "hold",
        interval_ms=admitted["decision"]["interval_ms"],
        metadata=command["metadata"],
        tenant=command["tenant"],
        edits=command["content"]["target"]["id"] if kind == "edit" else None,
    )


def check(command: Record, driver: Driver) -> None:
    """APIError `api.validation` with the field for a command that the driver can never do."""
    kind = command["type"]
    if kind not in HANDLED:
        raise APIError("api.validation", f"commands of type {kind} are not supported", field="type")
    if kind == "pair":
        pairing = command["pairing"] or {"method": "qr", "phone": None}
        needs = Capability.PAIR_CODE if pairing["method"] == "code" else Capability.PAIR_QR
        if pairing["method"] == "code":
            parse_phone(pairing["phone"] or "", "pairing.phone")
    else:
        needs = _CAPABILITY[kind]
    if needs not in driver.capabilities:
        raise APIError("api.validation", f"the driver {driver.name} cannot do {needs.value}", field="type")
    if kind in MESSAGES:
        _check_content(kind, command["content"])
    elif kind == "read" and not (command["read"] and command["read"]["message_ids"]):
        raise APIError("api.validation", "which messages to mark is missing", field="read.message_ids")
    elif kind == "typing" and command["presence"] not in _TYPING:
        raise APIError("api.validation", f"typing wants one of {', '.join(sorted(_TYPING))}", field="presence")
    elif kind == "presence" and command["presence"] not in _PRESENCE:
        raise APIError("api.validation", f"presence wants one of {', '.join(sorted(_PRESENCE))}", field="presence")
    elif kind == "presence" and command["presence"] == "subscribe":
        parse_recipient(command["to"] or "")
    _lane(command)


def hand_over(driver: Driver, session: int, command: Outgoing, codec: Codec) -> None:
    """Give one command to the host."""
    if command.type == "logout":
        driver.logout(session, command.command_id)
        return
    body = command.read = reread(codec, command)
    if command.type == "pair":
        pairing = body["pairing"] or {}
        by_code = pairing.get("method") == "code"
        driver.pair(session, command.command_id, parse_phone(pairing["phone"], "pairing.phone") if by_code else "")
    elif command.type in MESSAGES:
        request = pb.Send(
            session=session,
            command_id=command.command_id,
            message_id=command.message_id,
            to=command.lane,
            resume=command.state is not State.QUEUED,
        )
        if not request.resume:
            request.content.CopyFrom(outgoing(command.type, body["content"]))
        driver.send(request)
    else:
        driver.mark(_mark(session, command, body))


def _mark(session: int, command: Outgoing, body: Record) -> pb.Mark:
    mark = pb.Mark(session=session, command_id=command.command_id)
    if command.type == "read":
        read = body["read"]
        mark.kind = "played" if read["played"] else "read"
        mark.chat = command.lane
        mark.sender = str(parse_recipient(read["sender"], "read.sender")) if read["sender"] else ""
        mark.message_ids.extend(read["message_ids"])
    else:
        mark.kind = body["presence"]
        if command.type == "typing":
            mark.chat = command.lane
        elif mark.kind == "subscribe":
            mark.chat = str(parse_recipient(body["to"]))
    return mark


def _expires_at(admitted: Record, command: Record) -> int | None:
    given: int | None = command["expires_at"]
    if given is None and command["type"] in ("typing", "presence"):
        return int(admitted["admitted_at"]) + MOMENT_MS
    return given


def _lane(command: Record) -> str:
    kind = command["type"]
    if kind == "presence":
        return PRESENCE_LANE
    if kind in ("pair", "logout"):
        return SESSION_LANE
    to = command["to"]
    if to is None and command["content"] and command["content"]["target"]:
        to = command["content"]["target"]["chat"]
    return str(parse_recipient(to or ""))


def _check_content(kind: str, content: Record | None) -> None:
    if kind == "send":
        if content is None or content["type"] != "text":
            raise APIError("api.validation", "only text can be sent so far", field="content.type")
        if not content["text"]:
            raise APIError("api.validation", "the text is empty", field="content.text")
    elif content is None or content["target"] is None:
        raise APIError("api.validation", "the message it is about is missing", field="content.target")
    elif kind == "edit" and not content["text"]:
        raise APIError("api.validation", "the new text is empty", field="content.text")
    elif kind == "react" and content["reaction"] is None:
        raise APIError("api.validation", "the reaction is missing; an empty one removes it", field="content.reaction")
    outgoing(kind, content)
