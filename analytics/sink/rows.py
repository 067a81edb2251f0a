"""A decoded record as a row of `events`. Pure.

Rules: every record of the schema has a row, whatever its values: numbers are brought into the range of their column, unknown
words are kept as they are. What cannot have one is a PoisonError: an event_id that is no UUID. Times are epoch milliseconds;
one before 1970 or after 2105 becomes the nearest that ClickHouse can count hours of, the record's own stands in the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson

from core import ids
from core.errors import PoisonError
from core.kafka.processor import InRecord

Record = Mapping[str, Any]
Row = tuple[Any, ...]

# In the order of `Row`; `ingested_at` is ClickHouse's.
COLUMNS: tuple[str, ...] = (
    "event_id", "ts", "received_at", "instance", "generation", "tenant", "family", "kind", "origin", "simulated",
    "session_epoch", "seq", "direction", "chat_kind", "content_type", "chat", "contact", "message_id", "from_self",
    "command_id", "agent", "campaign", "metadata", "error_code", "reason", "final", "revision", "until", "size_bytes",
    "payload", "_topic", "_partition", "_offset",
)  # fmt: skip
EVENT_ID, INSTANCE, TS = COLUMNS.index("event_id"), COLUMNS.index("instance"), COLUMNS.index("ts")
TOPICS: tuple[str, ...] = (
    "events.message",
    "events.status",
    "events.session",
    "events.chat",
    "events.contact",
    "events.limit",
    "results",
)

# The last hour that a 32-bit time can tell, less one.
LATEST_MS = 4_294_960_000_000
_INT64, _INT32, _UINT32 = (-(2**63), 2**63 - 1), (-(2**31), 2**31 - 1), (0, 2**32 - 1)
_REASON_CHARS = 200


def row(record: Record, origin: InRecord) -> Row:
    """The row of a record that stands at `origin`."""
    make = _MAKERS[origin.topic]
    given = make(record)
    metadata: Mapping[str, str] = record.get("metadata") or {}
    given |= {
        "metadata": dict(metadata),
        "agent": metadata.get("agent", ""),
        "campaign": metadata.get("campaign", ""),
        "command_id": record.get("command_id") or "",
        "size_bytes": _within(len(origin.value or b""), _UINT32),
        "payload": payload(record),
        "_topic": origin.topic,
        "_partition": origin.partition,
        "_offset": origin.offset,
    }
    return tuple([given.get(name, _DEFAULTS[name]) for name in COLUMNS])


def columns(rows: list[Row]) -> list[list[Any]]:
    """The rows column by column, as the driver sends them."""
    return [list(column) for column in zip(*rows, strict=True)]


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(COLUMNS, ""),
    **dict.fromkeys(("generation", "session_epoch", "seq", "revision"), 0),
    **dict.fromkeys(("simulated", "from_self", "final"), False),
    "until": None,
}


def _message(record: Record) -> dict[str, Any]:
    key, direction, chat_kind = record["key"], record["direction"], record["chat_kind"]
    # In a direct chat the other person is the chat; elsewhere whoever wrote, but never the account itself.
    other = _jid(record["sender"]) if direction != "out" else _jid(record["recipient"])
    return _enveloped(record, "message") | {
        "direction": direction,
        "chat_kind": chat_kind,
        "content_type": record["content"]["type"],
        "chat": key["chat"],
        "contact": key["chat"] if chat_kind == "user" else other,
        "message_id": key["id"],
    }


def _status(record: Record) -> dict[str, Any]:
    return _enveloped(record, "status") | {
        "kind": f"status.{record['status']}",
        # Of whose message it tells: a message of somebody else has an author.
        "direction": "out" if record["message_sender"] is None else "in",
        "chat": record["chat"]["jid"],
        "contact": _jid(record["participant"]),
        "message_id": record["message_id"],
        "from_self": record["from_self"],
        "error_code": _number(record["error_code"]),
    }


def _session(record: Record) -> dict[str, Any]:
    return _enveloped(record, "session") | {
        # `kind` is free text, the state is what the uptime rests on.
        "kind": f"session.{record['state']}",
        "error_code": _number(record["reason_code"]),
        "reason": _short(record["reason"]),
        "until": _time_or_none(record["expires_at"]),
    }


def _chat(record: Record) -> dict[str, Any]:
    return _enveloped(record, "chat") | {"chat": record["chat"]["jid"], "contact": _jid(record["actor"])}


def _contact(record: Record) -> dict[str, Any]:
    return _enveloped(record, "contact") | {"contact": record["contact"]["jid"]}


def _limit(record: Record) -> dict[str, Any]:
    return _enveloped(record, "limit") | {
        "kind": f"limit.{record['limit']}",
        "error_code": _number(record["reason_code"]),
        "reason": _short(record["reason"]),
        "until": _time_or_none(record["until"]),
    }


def _result(record: Record) -> dict[str, Any]:
    error = record["error"] or {}
    when = _time(record["occurred_at"])
    return {
        "event_id": UUID(ids.result_event_id(record["result_id"], record["revision"], record["state"])),
        "ts": when,
        "received_at": when,
        "instance": record["instance_id"],
        "tenant": record["tenant"] or "",
        "family": "result",
        "kind": f"result.{record['state']}",
        "direction": "out",
        "content_type": record["type"],
        "chat": record["chat"] or "",
        "message_id": record["message_id"] or "",
        "error_code": error.get("code", ""),
        "reason": _short(error.get("message")),
        "final": record["final"],
        "revision": _within(record["revision"], _INT32),
        "until": _time_or_none(record["until"]),
    }


_MAKERS: dict[str, Callable[[Record], dict[str, Any]]] = {
    "events.message": _message,
    "events.status": _status,
    "events.session": _session,
    "events.chat": _chat,
    "events.contact": _contact,
    "events.limit": _limit,
    "results": _result,
}


def _enveloped(record: Record, family: str) -> dict[str, Any]:
    envelope = record["envelope"]
    try:
        event_id = UUID(envelope["event_id"])
    except ValueError as cause:
        text = f"event_id is no UUID: {envelope['event_id'][:60]!r}"
        raise PoisonError("api.validation", text, field="envelope.event_id") from cause
    return {
        "event_id": event_id,
        "ts": _time(envelope["occurred_at"]),
        "received_at": _time(envelope["received_at"]),
        "instance": envelope["instance_id"],
        "generation": _within(envelope["generation"], _INT64),
        "tenant": envelope["tenant"] or "",
        "family": family,
        "kind": record.get("kind", ""),
        "origin": envelope["origin"],
        "simulated": envelope["simulated"],
        "session_epoch": _within(envelope["session_epoch"] or 0, _INT64),
        "seq": _within(envelope["seq"] or 0, _INT64),
    }


def payload(record: Record) -> str:
    """The whole record as JSON, without bytes."""
    return orjson.dumps(record, default=_left_out).decode()


def _left_out(value: object) -> None:
    """Bytes (thumbnails, raw messages) are not for tables."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} has no JSON form")


def _jid(identity: Mapping[str, Any] | None) -> str:
    return "" if identity is None else str(identity["jid"])


def _number(code: int | None) -> str:
    return "" if code is None else str(code)


def _short(text: str | None) -> str:
    return (text or "")[:_REASON_CHARS]


def _time(epoch_ms: int) -> int:
    return min(max(epoch_ms, 0), LATEST_MS)


def _time_or_none(epoch_ms: int | None) -> int | None:
    return None if epoch_ms is None else _time(epoch_ms)


def _within(number: int, bounds: tuple[int, int]) -> int:
    return min(max(number, bounds[0]), bounds[1])
