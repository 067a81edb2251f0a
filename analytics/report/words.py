"""Numbers, times and ClickHouse's words as people read them. Texts of others come in as `label` leaves them."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final

from core.errors import CATALOGUE

LABEL_CHARS = 60
_UNITS: Final = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400), ("days", 86_400, math.inf))

# What stands before a code: "Refused by WhatsApp (470)".
_KINDS: Final = {
    "status.failed": "Refused by WhatsApp",
    "message.undecryptable": "Could not be decrypted",
    "result.failed": "Command failed",
    "result.rejected": "Command rejected",
    "result.expired": "Command expired",
    "result.unknown": "Outcome unknown",
    "result.delayed": "Delayed by a limit",
    "limit.warning": "Limit is near",
    "limit.block": "Blocked by a limit",
    "limit.ban": "Banned by WhatsApp",
    "limit.timelock": "New chats locked by WhatsApp",
    "limit.throttled": "Slowed down by WhatsApp",
    "limit.lifted": "Restriction lifted early",
    "limit.unknown": "Other limit",
}


def count(number: float) -> str:
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """Per cent of the whole; a dash where there is none."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    # What is not all does not read as all, nor what is something as nothing.
    if 99.9 < percent < 100 or 0 < percent < 0.1:
        return "> 99.9 %" if percent > 1 else "< 0.1 %"
    return f"{percent:.1f}".removesuffix(".0") + " %"


def duration(seconds: float | None) -> str:
    """A dash for the quantile of nothing: null, or not a number."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    unit, size = next((unit, size) for unit, size, end in _UNITS if seconds < end)
    value = f"{seconds / size:.1f}".removesuffix(".0") if seconds / size < 10 else f"{seconds / size:.0f}"
    return f"{value} {unit}" if (value, unit) != ("1", "days") else "1 day"


def day(when: date) -> str:
    return f"{when.day} {when:%b %Y}"


def moment(when: datetime) -> str:
    return f"{day(when)}, {when:%H:%M}"


def label(text: str, otherwise: str = "(none)") -> str:
    """A name that somebody chose: without what moves or hides text, and not longer than a label."""
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    if not clean:
        return otherwise
    return clean if len(clean) <= LABEL_CHARS else clean[: LABEL_CHARS - 1] + "…"


def cells(text: str) -> int:
    """How wide it is, in digits: letters of East Asia and emoji are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def fitted(texts: Sequence[str], room: int) -> list[str]:
    """Labels no wider than that, which still differ."""
    return labels(_cut(text, room) for text in texts)


def _cut(text: str, room: int) -> str:
    if cells(text) <= room:
        return text
    while text and cells(text) >= room:
        text = text[:-1]
    return text + "…"


def labels(texts: Iterable[str], otherwise: str = "(none)") -> list[str]:
    """Labels that differ: what looks alike once it is shortened is numbered."""
    seen: Counter[str] = Counter()
    out = []
    for text in texts:
        one = label(text, otherwise)
        seen[one] += 1
        out.append(one if seen[one] == 1 else f"{one} ({seen[one]})")
    return out


def shown(most: int, of: int, which: str) -> str:
    """A sentence where a chart has not room for all."""
    return f" Shown are the {most} {which}; all {count(of)} are in the numbers." if of > most else ""


def kind(name: str, code: str) -> str:
    """A failure or a verdict with its code, in the catalogue's words where it knows the code."""
    said = _KINDS.get(name, label(name))
    if not code:
        return said
    known = CATALOGUE.get(code)
    return f"{said} ({label(code)})" + (f": {known.meaning}" if known else "")
