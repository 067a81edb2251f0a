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
    """`process` is who gave it up. A value that does not fit is left where it is and named by its SHA-256."""
    value = record.value
    room = sizes.limit_for(TOPIC) - _OWN_BYTES - len(record.key or b"") * 2 - sizes.headers_bytes(record.headers)
    if value is not None and len(value) > room:
        message = f"{message} (value of {len(value)} bytes left out, sha256 {hashlib.sha256(value).hexdigest()})"
        value = None
    body = {
        "origin_topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": record.key,
        "value": value,
        "headers": [{"name": name, "value": text} for name, text in record.headers],
        "code": code,
        "message": message[: _OWN_BYTES // 4],
        "field": field,
        "process": process,
        "attempts": attempts,
        "at": now_ms,
    }
    return OutRecord(TOPIC, record.key, encoder.encode(TOPIC, body))
