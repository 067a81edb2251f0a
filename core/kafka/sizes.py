"""Sizes: what may be produced. The check is made before a transaction begins; a record that fails it is a fault of ours."""

from __future__ import annotations

from core.errors import APIError
from core.kafka.processor import Headers, OutRecord
from core.topics import MAX_RECORD_BYTES, record_limit

# Upper bound of Kafka's own record framing: lengths, timestamps, attributes and the batch header.
FRAMING_BYTES = 4096


def headers_bytes(headers: Headers) -> int:
    """Bytes of all header names and values."""
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size


def record_bytes(record: OutRecord) -> int:
    """Key, value and headers together; what the limits are about."""
    return len(record.key or b"") + len(record.value or b"") + headers_bytes(record.headers)


def limit_for(topic: str) -> int:
    """Largest `record_bytes` of a topic: 1 MiB, more where a record wraps another."""
    return record_limit(topic)


def check(record: OutRecord) -> None:
    """Raise `api.too_large` for a record that must not be produced."""
    size, limit = record_bytes(record), limit_for(record.topic)
    if size > limit:
        raise APIError(
            "api.too_large",
            f"a record for {record.topic} has {size} bytes, at most {limit}",
            topic=record.topic,
            size=size,
        )


__all__ = ["FRAMING_BYTES", "MAX_RECORD_BYTES", "check", "headers_bytes", "limit_for", "record_bytes"]
