"""Events that would be too large for Kafka: the raw payload goes first, then thumbnails, then text is cut.

Each cut is told in a record header of its own, with what it was and its SHA-256, so that nothing is lost in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from core.errors import APIError
from core.kafka.processor import Headers
from core.topics import MAX_RECORD_BYTES

# Room for the key, the headers and what tells of a cut.
MAX_VALUE = MAX_RECORD_BYTES - 4096
CUT_HEADER = "wharf_cut"

Encode = Callable[[dict[str, Any]], bytes]


def fit(record: dict[str, Any], encode: Encode) -> tuple[bytes, Headers]:
    """The encoded record, cut where it must be (in place), and the headers that tell of it."""
    value = encode(record)
    if len(value) <= MAX_VALUE:
        return value, ()
    content = record.get("content")
    cuts: list[tuple[str, bytes]] = []
    if content is not None:
        for step in (_without_raw, _without_thumbnails, _shorter_texts):
            cuts += step(content, len(value) - MAX_VALUE)
            value = encode(record)
            if len(value) <= MAX_VALUE:
                return value, tuple(cuts)
    elif record.get("details"):
        cuts = _shorten(record, "details", "details", len(value) - MAX_VALUE)
        value = encode(record)
        if len(value) <= MAX_VALUE:
            return value, tuple(cuts)
    raise APIError("api.too_large", f"an event of {len(value)} bytes")


def _told(name: str, what: bytes) -> tuple[str, bytes]:
    return CUT_HEADER, f"{name} bytes={len(what)} sha256={hashlib.sha256(what).hexdigest()}".encode()


def _without_raw(content: dict[str, Any], _over: int) -> list[tuple[str, bytes]]:
    raw, content["raw"] = content["raw"], None
    return [] if raw is None else [_told("content.raw", raw["bytes"])]


def _without_thumbnails(content: dict[str, Any], _over: int) -> list[tuple[str, bytes]]:
    cuts = []
    for name in ("preview", "media"):
        part = content[name]
        if part is not None and part["thumbnail"]:
            cuts.append(_told(f"content.{name}.thumbnail", part["thumbnail"]))
            part["thumbnail"] = None
    return cuts


def _shorter_texts(content: dict[str, Any], over: int) -> list[tuple[str, bytes]]:
    cuts = []
    context = content["context"]
    if context is not None and context["quoted"] is not None and context["quoted"]["text"]:
        before = len(context["quoted"]["text"].encode())
        cuts += _shorten(context["quoted"], "text", "content.context.quoted.text", over)
        over -= before - len(context["quoted"]["text"].encode())
    if over > 0 and content["text"]:
        cuts += _shorten(content, "text", "content.text", over)
    return cuts


def _shorten(owner: dict[str, Any], field: str, name: str, over: int) -> list[tuple[str, bytes]]:
    whole = owner[field].encode()
    # A little more than needed: the length prefixes shrink as well, and no character may be cut in two.
    keep = max(0, len(whole) - over - 64)
    owner[field] = whole[:keep].decode(errors="ignore")
    return [_told(name, whole)]
