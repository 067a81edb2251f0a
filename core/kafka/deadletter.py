"""Dead letters: what could not be processed goes, whole and with its cause, to `deadletter` in the same transaction.

Keyed by the origin's key, so that an instance's dead letters stay in its partition.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from core.kafka import sizes
from core.kafka.processor import InRecord, OutRecord

TOPIC = "deadletter"
# Room for everything of a dead letter that is not the origin's key, value and headers.
_OWN_BYTES = 32_768
_MESSAGE_BYTES = 8_192
_FIELD_BYTES = 1_024
_LARGEST_KEY = 32_768


class Encoder(Protocol):
    """`core.kafka.codec.Codec` is one."""

    def encode(self, topic: str, record: dict[str, Any]) -> bytes: ...


def dead_letter(
    record: InRecord,
    code: str,
    message: str,
    field: str | None,
    attempts: int,
    now_ms: int,
    *,
    encoder: Encoder,
    process: str,
) -> OutRecord:
    """`process` is who gave it up. What does not fit is left where it is and named by its SHA-256 and its size.

    A compressed record may be larger in each of its parts than any topic allows.
    """
    key, value, headers = record.key, record.value, record.headers
    room = sizes.limit_for(TOPIC) - _OWN_BYTES
    left_out = []
    # The key stands in the record and is the record's own.
    if key is not None and len(key) > _LARGEST_KEY:
        left_out.append(_named("key", key))
        key = None
    room -= len(key or b"") * 2
    # Avro's framing of an entry is a few bytes.
    if sizes.headers_bytes(headers) + 16 * len(headers) > room // 2:
        left_out.append(_named("headers", repr(headers).encode()))
        headers = ()
    room -= sizes.headers_bytes(headers) + 16 * len(headers)
    if value is not None and len(value) > room:
        left_out.append(_named("value", value))
        value = None
    message = _clipped(message, _MESSAGE_BYTES) + "".join(left_out)
    body = {
        "origin_topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": key,
        "value": value,
        "headers": [{"name": name, "value": text} for name, text in headers],
        "code": code,
        "message": message,
        "field": None if field is None else _clipped(field, _FIELD_BYTES),
        "process": process,
        "attempts": attempts,
        "at": now_ms,
    }
    return OutRecord(TOPIC, key, encoder.encode(TOPIC, body))


def _named(part: str, content: bytes) -> str:
    return f" ({part} of {len(content)} bytes left out, sha256 {hashlib.sha256(content).hexdigest()})"


def _clipped(text: str, limit: int) -> str:
    """Whoever wrote the record may have chosen this text: a field's name, a value that is quoted."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= limit else f"{data[:limit].decode(errors='ignore')}…"
