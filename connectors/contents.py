"""Message content between the host's protobuf and the Avro records. Pure; empty protobuf strings are absent facts."""

from __future__ import annotations

from typing import Any

from connectors.drivers.whatsmeow import host_pb2 as pb
from core.jid import parse_recipient
from schemas.catalogue import named_types


def _symbols(name: str) -> frozenset[str]:
    return frozenset(named_types()[f"wharf.{name}"]["symbols"])


CONTENT_TYPES = _symbols("ContentType")
RAW_FORMATS = _symbols("RawFormat")


def identity(given: pb.Identity) -> dict[str, Any] | None:
    jid = given.jid
    if not jid:
        return None
    return {"jid": jid, "lid": given.lid or None, "pn": given.pn or None, "bsuid": None, "username": None}


def message_key(given: pb.MessageKey) -> dict[str, Any]:
    return {
        "chat": given.chat,
        "sender": given.sender or None,
        "from_me": given.from_me,
        "id": given.id,
        "server_id": given.server_id or None,
    }


def content_type(symbol: str) -> str:
    return symbol if symbol in CONTENT_TYPES else "unknown"


def content(given: pb.Content) -> dict[str, Any]:
    """MessageContent as received."""
    has = given.HasField
    return {
        "type": content_type(given.type),
        "inner_type": content_type(given.inner_type) if given.inner_type else None,
        "text": given.text if has("text") else None,
        "text_guessed": given.text_guessed,
        "preview": _preview(given.preview) if has("preview") else None,
        "media": None,
        "target": message_key(given.target) if has("target") else None,
        "reaction": given.reaction if has("reaction") else None,
        "revoked_by": given.revoked_by or None,
        "edited_at": given.edited_at_ms or None,
        "timer_s": given.timer_s if has("timer_s") else None,
        "placeholder": given.placeholder or None,
        "wrappers": list(given.wrappers),
        "system": _system(given.system) if has("system") else None,
        "context": _context(given.context) if has("context") else None,
        "raw": _raw(given.raw) if has("raw") else None,
    }


def placeholder(reason: str) -> dict[str, Any]:
    """MessageContent of what could not be decrypted."""
    return content(pb.Content(type="placeholder", placeholder=reason))


def outgoing(kind: str, given: dict[str, Any] | None) -> pb.OutgoingContent:
    """What a command of type send, edit, revoke or react asks the host to send. APIError names the wrong field."""
    record = given or {}
    out = pb.OutgoingContent(type=_OUTGOING_TYPE[kind], text=record.get("text") or "")
    target = record.get("target")
    if target is not None:
        out.target.CopyFrom(_key_to_host(target))
    if record.get("reaction"):
        out.reaction = record["reaction"]
    preview = record.get("preview")
    if preview is not None:
        out.preview.CopyFrom(
            pb.LinkPreview(
                url=preview["url"] or "",
                title=preview["title"] or "",
                description=preview["description"] or "",
                type=preview["type"] or "",
                thumbnail=preview["thumbnail"] or b"",
            )
        )
    context = record.get("context")
    if context is not None:
        out.context.CopyFrom(_context_to_host(context))
    return out


_OUTGOING_TYPE = {"send": "text", "edit": "edit", "revoke": "revoke", "react": "reaction"}


def _preview(given: pb.LinkPreview) -> dict[str, Any]:
    return {
        "url": given.url or None,
        "title": given.title or None,
        "description": given.description or None,
        "type": given.type or None,
        "thumbnail": given.thumbnail or None,
        "media": None,
    }


def _system(given: pb.SystemInfo) -> dict[str, Any]:
    return {
        "protocol_type": int(given.protocol_type) if given.protocol_type.isdigit() else None,
        "stub_type": given.stub_type or None,
        "parameters": ([] if given.protocol_type.isdigit() or not given.protocol_type else [given.protocol_type])
        + list(given.parameters),
    }


def _raw(given: pb.Raw) -> dict[str, Any]:
    return {
        "format": given.format if given.format in RAW_FORMATS else "unknown",
        "bytes": given.bytes,
        "field_numbers": list(given.field_numbers),
        "wa_version": given.wa_version or None,
    }


def _context(given: pb.Context) -> dict[str, Any]:
    has = given.HasField
    quoted = None
    if has("quoted"):
        quoted = {
            "key": message_key(given.quoted.key),
            "type": content_type(given.quoted.type) if given.quoted.type else None,
            "text": given.quoted.text if given.quoted.HasField("text") else None,
        }
    return {
        "quoted": quoted,
        "mentions": list(given.mentions),
        "group_mentions": [{"jid": each.jid, "subject": each.subject or None} for each in given.group_mentions],
        "mention_all": given.mention_all,
        "forwarded": given.forwarded,
        "forwarding_score": given.forwarding_score if has("forwarding_score") else None,
        "forward_origin": None,
        "ephemeral_s": given.ephemeral_s if has("ephemeral_s") else None,
        "ephemeral_set_at": given.ephemeral_set_at_ms if has("ephemeral_set_at_ms") else None,
        "view_once": given.view_once,
        "thread_id": given.thread_id or None,
        "conversion": dict(given.conversion),
    }


def _context_to_host(record: dict[str, Any]) -> pb.Context:
    out = pb.Context(
        mentions=[str(parse_recipient(each, "content.context.mentions")) for each in record["mentions"]],
        group_mentions=[
            pb.GroupMention(jid=each["jid"], subject=each["subject"] or "") for each in record["group_mentions"]
        ],
        mention_all=record["mention_all"],
        forwarded=record["forwarded"],
        view_once=record["view_once"],
        thread_id=record["thread_id"] or "",
        conversion=record["conversion"],
    )
    if record["forwarding_score"] is not None:
        out.forwarding_score = record["forwarding_score"]
    if record["ephemeral_s"] is not None:
        out.ephemeral_s = record["ephemeral_s"]
    if record["ephemeral_set_at"] is not None:
        out.ephemeral_set_at_ms = record["ephemeral_set_at"]
    quoted = record["quoted"]
    if quoted is not None:
        out.quoted.key.CopyFrom(_key_to_host(quoted["key"]))
        out.quoted.type = quoted["type"] or "text"
        if quoted["text"] is not None:
            out.quoted.text = quoted["text"]
    return out


def _key_to_host(record: dict[str, Any]) -> pb.MessageKey:
    return pb.MessageKey(
        chat=str(parse_recipient(record["chat"], "key.chat")) if record["chat"] else "",
        sender=str(parse_recipient(record["sender"], "key.sender")) if record["sender"] else "",
        from_me=record["from_me"],
        id=record["id"],
        server_id=record["server_id"] or 0,
    )
