"""What a decodable command must look like to be carried out: the first thing that is wrong, by code and field.

Pure and without memory: the same command always gets the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from core.errors import APIError
from core.jid import parse_phone, parse_recipient
from core.topics import MAX_RECORD_BYTES
from streams.limiter.command import SUPPORTED, Record

MAX_ID: Final = 128
MAX_TEXT: Final = 65_536
MAX_REACTION_BYTES: Final = 64
MAX_MENTIONS: Final = 1_024
MAX_THUMBNAIL_BYTES: Final = 64 * 1024
MAX_READ_IDS: Final = 1_000
# Metadata comes back in every result and event of the command.
MAX_METADATA_BYTES: Final = 16 * 1024
# Key, value and headers of its record.
MAX_COMMAND_BYTES: Final = MAX_RECORD_BYTES

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TYPING = ("composing", "recording", "paused")
_PRESENCE = ("available", "unavailable", "subscribe")
_PREVIEWS = ("none", "video", "placeholder", "image", "payment_links", "profile")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a command is not carried out: a code of the catalogue, a text for people, the field that is wrong."""

    code: str
    message: str
    field: str | None = None
    retry_at_ms: int | None = None


def _wrong(field: str, message: str) -> Problem:
    return Problem("api.validation", f"{field} {message}", field)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()


def identity_problem(command: Record) -> Problem | None:
    """What is wrong with the names a command is known by; without them nothing can be remembered of it."""
    if not _is_id(command["command_id"]):
        return _wrong("command_id", f"must be 1 to {MAX_ID} printable characters")
    if not _SLUG.fullmatch(command["instance_id"]):
        return _wrong("instance_id", "must be a slug: a-z, 0-9, _ and -, at most 63, not beginning with _ or -")
    return None


def problem_of(command: Record, size: int) -> Problem | None:
    """The first thing that is wrong with a command whose identity is good; `size` is that of its record."""
    if size > MAX_COMMAND_BYTES:
        return Problem("api.too_large", f"the command has {size} bytes, {MAX_COMMAND_BYTES} are allowed")
    kind = command["type"]
    if kind not in SUPPORTED:
        return _wrong("type", f"{kind} is not supported" if kind == "unknown" else f"{kind} is not supported yet")
    return _common(command) or _BY_TYPE[kind](command)


def _common(command: Record) -> Problem | None:
    if command["lane"] == "unknown":
        return _wrong("lane", "is not one of auto, reply, cold")
    if command["on_unknown"] == "unknown":
        return _wrong("on_unknown", "is not one of resend, hold")
    not_before, expires_at = command["not_before"], command["expires_at"]
    if not_before is not None and not_before < 0:
        return _wrong("not_before", "is before 1970")
    if expires_at is not None and expires_at < 0:
        return _wrong("expires_at", "is before 1970")
    if not_before is not None and expires_at is not None and not_before >= expires_at:
        return _wrong("not_before", "is not before expires_at")
    for field in ("requested_by", "tenant"):
        if command[field] is not None and not _is_id(command[field]):
            return _wrong(field, f"must be 1 to {MAX_ID} printable characters")
    if not metadata_fits(command["metadata"]):
        return _wrong("metadata", f"has more than {MAX_METADATA_BYTES} bytes")
    return None


def metadata_fits(metadata: dict[str, str]) -> bool:
    """Whether it can come back in every result and event."""
    return not metadata or sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) <= MAX_METADATA_BYTES


def _address(value: str | None, field: str) -> Problem | None:
    if not value:
        return _wrong(field, "is required")
    try:
        parse_recipient(value, field)
    except APIError as cause:
        return Problem(cause.code, cause.message, field)
    return None


def _text(content: Record) -> Problem | None:
    text = content["text"]
    if not text:
        return _wrong("content.text", "must not be empty")
    if len(text) > MAX_TEXT:
        return _wrong("content.text", f"has {len(text)} characters, {MAX_TEXT} are allowed")
    return None


def _content(command: Record, *types: str) -> tuple[Record, Problem | None]:
    content = command["content"]
    if content is None:
        return {}, _wrong("content", "is required")
    if content["type"] not in types:
        return {}, _wrong("content.type", f"{content['type']} is not supported here, only {' and '.join(types)}")
    return content, None


def _context(content: Record) -> Problem | None:
    context = content["context"]
    if context is None:
        return None
    if len(context["mentions"]) > MAX_MENTIONS:
        return _wrong("content.context.mentions", f"has more than {MAX_MENTIONS} entries")
    for index, jid in enumerate(context["mentions"]):
        field = f"content.context.mentions[{index}]"
        if problem := _address(jid, field):
            return problem
        # Phones show a mention where the text has it, and nowhere else.
        name = parse_recipient(jid, field).user
        if f"@{name}" not in (content["text"] or ""):
            return _wrong(field, f"is not in the text, which must contain @{name}")
    quoted = context["quoted"]
    return None if quoted is None else _key(quoted["key"], "content.context.quoted.key")


def _preview(content: Record) -> Problem | None:
    preview = content["preview"]
    if preview is None:
        return None
    if not preview["url"] or preview["url"] not in content["text"]:
        return _wrong("content.preview.url", "must be a part of the text")
    if preview["type"] is not None and preview["type"].lower() not in _PREVIEWS:
        return _wrong("content.preview.type", f"is not one of {', '.join(_PREVIEWS)}")
    if len(preview["thumbnail"] or b"") > MAX_THUMBNAIL_BYTES:
        return _wrong("content.preview.thumbnail", f"has more than {MAX_THUMBNAIL_BYTES} bytes")
    return None


def _key(key: Record, field: str) -> Problem | None:
    if not _is_id(key["id"]):
        return _wrong(f"{field}.id", f"must be 1 to {MAX_ID} printable characters")
    if problem := _address(key["chat"], f"{field}.chat"):
        return problem
    return _address(key["sender"], f"{field}.sender") if key["sender"] is not None else None


def _target(content: Record) -> Problem | None:
    if content["target"] is None:
        return _wrong("content.target", "is required")
    return _key(content["target"], "content.target")


def _send(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    content, problem = _content(command, "text")
    return problem or _text(content) or _context(content) or _preview(content)


def _edit(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    content, problem = _content(command, "edit", "text")
    return problem or _target(content) or _text(content) or _context(content) or _preview(content)


def _revoke(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    content, problem = _content(command, "revoke", "unknown")
    return problem or _target(content)


def _react(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    content, problem = _content(command, "reaction", "unknown")
    if problem := problem or _target(content):
        return problem
    reaction = content["reaction"]
    if reaction is None:
        return _wrong("content.reaction", "is required; empty removes the reaction")
    if len(reaction.encode()) > MAX_REACTION_BYTES:
        return _wrong("content.reaction", f"has more than {MAX_REACTION_BYTES} bytes")
    return None


def _read(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    read = command["read"]
    if read is None:
        return _wrong("read", "is required")
    if not 0 < len(read["message_ids"]) <= MAX_READ_IDS:
        return _wrong("read.message_ids", f"must have 1 to {MAX_READ_IDS} entries")
    for index, message_id in enumerate(read["message_ids"]):
        if not _is_id(message_id):
            return _wrong(f"read.message_ids[{index}]", f"must be 1 to {MAX_ID} printable characters")
    return _address(read["sender"], "read.sender") if read["sender"] is not None else None


def _typing(command: Record) -> Problem | None:
    if problem := _address(command["to"], "to"):
        return problem
    return None if command["presence"] in _TYPING else _wrong("presence", f"must be one of {', '.join(_TYPING)}")


def _presence(command: Record) -> Problem | None:
    if command["presence"] not in _PRESENCE:
        return _wrong("presence", f"must be one of {', '.join(_PRESENCE)}")
    return _address(command["to"], "to") if command["presence"] == "subscribe" else None


def _pair(command: Record) -> Problem | None:
    pairing = command["pairing"]
    if pairing is None:
        return None
    if pairing["method"] == "unknown":
        return _wrong("pairing.method", "is not one of qr, code")
    if pairing["method"] != "code":
        return None
    if not pairing["phone"]:
        return _wrong("pairing.phone", "is required for pairing by code")
    try:
        parse_phone(pairing["phone"], "pairing.phone")
    except APIError as cause:
        return Problem(cause.code, cause.message, "pairing.phone")
    return None


def _logout(_command: Record) -> Problem | None:
    return None


def _cancel(command: Record) -> Problem | None:
    target = command["target_command_id"]
    if not _is_id(target):
        return _wrong("target_command_id", f"must be 1 to {MAX_ID} printable characters")
    if target == command["command_id"]:
        return _wrong("target_command_id", "is the cancel itself")
    if command["not_before"] is not None:
        return _wrong("not_before", "has no meaning for a cancel, which is decided at once")
    return None


_BY_TYPE: dict[str, Callable[[Record], Problem | None]] = {
    "send": _send,
    "edit": _edit,
    "revoke": _revoke,
    "react": _react,
    "read": _read,
    "typing": _typing,
    "presence": _presence,
    "pair": _pair,
    "logout": _logout,
    "cancel": _cancel,
}
