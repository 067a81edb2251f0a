"""The envelope every event carries, and its CloudEvents headers (binary mode)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from core.kafka.processor import Headers

Origin = Literal["live", "offline", "history"]


def envelope(
    *,
    event_id: str,
    instance_id: str,
    generation: int,
    occurred_at: int,
    received_at: int,
    origin: Origin = "live",
    tenant: str | None = None,
    session_epoch: int | None = None,
    seq: int | None = None,
    simulated: bool = False,
) -> dict[str, Any]:
    """Times are epoch milliseconds: WhatsApp's in `occurred_at`, ours in `received_at`."""
    return {
        "event_id": event_id,
        "instance_id": instance_id,
        "generation": generation,
        "tenant": tenant,
        "occurred_at": occurred_at,
        "received_at": received_at,
        "origin": origin,
        "session_epoch": session_epoch,
        "seq": seq,
        "simulated": simulated,
    }


def rfc3339(epoch_ms: int) -> str:
    """UTC with milliseconds, as CloudEvents wants it."""
    seconds, millis = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def cloud_event_headers(
    *,
    event_id: str,
    event_type: str,
    instance_id: str,
    time_ms: int,
    subject: str | None = None,
    traceparent: str | None = None,
) -> Headers:
    """`event_type` is what happened, e.g. `wharf.message.new`; `subject` what it happened to, e.g. the chat."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", f"/wharf/instances/{instance_id}".encode()),
        ("ce_time", rfc3339(time_ms).encode()),
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return tuple(headers)


def header(headers: Headers, name: str) -> bytes | None:
    """The last value under that name, as Kafka's own `lastHeader`."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None
