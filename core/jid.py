"""Addresses: phone numbers, c.us addresses and JIDs in, one canonical JID out.

Rules: canonical is without device; c.us and the hosted servers become the normal ones; a phone number is international,
with or without `+`, and may be written with spaces, dots, dashes, slashes and brackets. Digits are ASCII digits only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import APIError

PHONE_SERVER: Final = "s.whatsapp.net"
LID_SERVER: Final = "lid"
GROUP_SERVER: Final = "g.us"

_CANONICAL_SERVER: Final = {"c.us": PHONE_SERVER, "hosted": PHONE_SERVER, "hosted.lid": LID_SERVER}
# What the part before the @ may be, by canonical server.
_USER: Final = {
    PHONE_SERVER: re.compile(r"[1-9][0-9]{4,14}"),
    LID_SERVER: re.compile(r"[0-9]{1,20}"),
    GROUP_SERVER: re.compile(r"[0-9]{5,20}(-[0-9]{5,20})?"),
    "broadcast": re.compile(r"status|[0-9]{1,20}"),
    "newsletter": re.compile(r"[0-9]{1,20}"),
    "bot": re.compile(r"[0-9]{1,20}"),
    "msgr": re.compile(r"[0-9]{1,20}"),
    "interop": re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?"),
}
# The device of a user, as WhatsApp writes it: user:device, or user.agent:device.
_DEVICE: Final = re.compile(r"(?:\.[0-9]{1,3})?:[0-9]{1,5}$|\.[0-9]{1,3}$")
_SEPARATORS: Final = re.compile(r"[ \t\u00a0\u202f./()-]")
_PHONE: Final = re.compile(r"[0-9]+")
MAX_LENGTH: Final = 128


class ChatKind(StrEnum):
    """Symbols of the Avro enum wharf.ChatKind."""

    USER = "user"
    GROUP = "group"
    BROADCAST = "broadcast"
    STATUS = "status"
    NEWSLETTER = "newsletter"
    BOT = "bot"
    UNKNOWN = "unknown"


_KIND: Final = {
    PHONE_SERVER: ChatKind.USER,
    LID_SERVER: ChatKind.USER,
    GROUP_SERVER: ChatKind.GROUP,
    "broadcast": ChatKind.BROADCAST,
    "newsletter": ChatKind.NEWSLETTER,
    "bot": ChatKind.BOT,
}


@dataclass(frozen=True, slots=True, order=True)
class Jid:
    """A canonical address. Made by parse_recipient and parse_jid only."""

    user: str
    server: str

    def __str__(self) -> str:
        return f"{self.user}@{self.server}"

    @property
    def kind(self) -> ChatKind:
        if self.server == "broadcast" and self.user == "status":
            return ChatKind.STATUS
        return _KIND.get(self.server, ChatKind.UNKNOWN)

    @property
    def is_phone(self) -> bool:
        return self.server == PHONE_SERVER

    @property
    def is_lid(self) -> bool:
        return self.server == LID_SERVER


def parse_recipient(text: str, field: str = "to") -> Jid:
    """Whatever a person may give as an address; APIError `api.validation` tells what is wrong with it."""
    text = _trimmed(text, field)
    return parse_jid(text, field) if "@" in text else Jid(parse_phone(text, field), PHONE_SERVER)


def parse_jid(text: str, field: str = "jid") -> Jid:
    """A JID, with or without device, on any server that WhatsApp has."""
    user, _, server = _trimmed(text, field).partition("@")
    server = server.lower()
    server = _CANONICAL_SERVER.get(server, server)
    if server not in _USER:
        raise _wrong(field, text, f"the server is none of {', '.join([*_USER, *_CANONICAL_SERVER])}")
    if server in (PHONE_SERVER, LID_SERVER):
        user = _DEVICE.sub("", user).removeprefix("+")
    if not _USER[server].fullmatch(user):
        raise _wrong(field, text, f"{user or 'nothing'} is no address on {server}")
    return Jid(user, server)


def parse_phone(text: str, field: str = "phone") -> str:
    """The digits of an international phone number."""
    digits = _SEPARATORS.sub("", _trimmed(text, field))
    digits = digits[1:] if digits.startswith("+") else digits.removeprefix("00")
    if not _PHONE.fullmatch(digits):
        raise _wrong(field, text, "neither a phone number nor a JID")
    if digits.startswith("0"):
        raise _wrong(field, text, "the number needs its country code, as in +4915123456789")
    if not _USER[PHONE_SERVER].fullmatch(digits):
        raise _wrong(field, text, "an international number has 5 to 15 digits")
    return digits


def _trimmed(text: str, field: str) -> str:
    if len(text) > MAX_LENGTH:
        raise _wrong(field, f"{text[:20]}...", f"longer than {MAX_LENGTH} characters")
    text = text.strip()
    if not text:
        raise APIError("api.validation", "the recipient is empty", field=field)
    return text


def _wrong(field: str, text: str, reason: str) -> APIError:
    return APIError("api.validation", f"{text!r}: {reason}", field=field)
