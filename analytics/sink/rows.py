"""A decoded record as a row of `events`. Pure.

Rules: every record of the schema has a row, whatever its values: numbers are brought into the range of their column, unknown
words are kept as they are. What cannot have one is a PoisonError: an event_id that is no UUID. Times are epoch milliseconds;
one before 1970 or after 2105 becomes the nearest that ClickHouse can count hours of, the record's own stands in the payload.

A row is made some ten thousand times a second: its parts are put together as they are, without a name for each value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from core import ids
from core.errors import PoisonError
from core.kafka.processor import InRecord

Record = Mapping[str, Any]
# Values in the order of COLUMNS; `ingested_at` is ClickHouse's.
Row = tuple[Any, ...]


class Head(NamedTuple):
    """Which event it is, and whose."""

    event_id: UUID
    ts: int
    received_at: int
    instance: str
    tenant: str
    generation: int = 0
    origin: str = ""
    simulated: bool = False
    session_epoch: int = 0
    seq: int = 0


class Facts(NamedTuple):
    """What happened. What a family of events does not tell is empty."""

    kind: str
    direction: str = ""
    chat_kind: str = ""
    content_type: str = ""
    chat: str = ""
    contact: str = ""
    message_id: str = ""
    from_self: bool = False
    error_code: str = ""
    reason: str = ""
    final: bool = False
    revision: int = 0
    until: int | None = None


COLUMNS: tuple[str, ...] = (
    *Head._fields, *Facts._fields,
    "family", "command_id", "agent", "campaign", "metadata", "size_bytes", "payload", "_topic", "_partition", "_offset",
)  # fmt: skip
EVENT_ID, INSTANCE, TS = COLUMNS.index("event_id"), COLUMNS.index("instance"), COLUMNS.index("ts")

# The last hour that a 32-bit time can tell, less one.
LATEST_MS = 4_294_960_000_000
_INT32 = (-(2**31), 2**31 - 1)
_REASON_CHARS = 200


def row(record: Record, origin: InRecord) -> Row:
    """The row of a record that stands at `origin`."""
    topic = origin.topic
    family, make = _FAMILIES[topic]
    head, facts = make(record)
    metadata: Mapping[str, str] = record.get("metadata") or _NOTHING
    return (
        *head,
        *facts,
        family,
        record.get("command_id") or "",
        metadata.get("agent", ""),
        metadata.get("campaign", ""),
        metadata,
        len(origin.value or b""),
        payload(record),
        topic,
        origin.partition,
        origin.offset,
    )


def columns(rows: list[Row]) -> list[list[Any]]:
    """The rows column by column, as the driver sends them."""
    return [list(column) for column in zip(*rows, strict=True)]


def payload(record: Record) -> str:
    """The whole record as JSON, without bytes."""
    # A copy: what orjson returns keeps the kilobytes of room it was written in for as long as the row waits.
    return orjson.dumps(record, default=_left_out).decode()


_NOTHING: Mapping[str, str] = {}


def _message(record: Record) -> tuple[Head, Facts]:
    key, direction, chat_kind = record["key"], record["direction"], record["chat_kind"]
    # In a direct chat the other person is the chat; elsewhere whoever wrote, but never the account itself.
    contact = key["chat"] if chat_kind == "user" else _jid(record["recipient" if direction == "out" else "sender"])
    facts = Facts(record["kind"], direction, chat_kind, record["content"]["type"], key["chat"], contact, key["id"])
    return _head(record), facts


def _status(record: Record) -> tuple[Head, Facts]:
    facts = Facts(
        f"status.{record['status']}",
        # Of whose message it tells: a message of somebody else has an author.
        "out" if record["message_sender"] is None else "in",
        chat=record["chat"]["jid"],
        contact=_jid(record["participant"]),
        message_id=record["message_id"],
        from_self=record["from_self"],
        error_code=_number(record["error_code"]),
    )
    return _head(record), facts


def _session(record: Record) -> tuple[Head, Facts]:
    facts = Facts(
        # `kind` is free text, the state is what the uptime rests on.
        f"session.{record['state']}",
        error_code=_number(record["reason_code"]),
        reason=_short(record["reason"]),
        until=_time_or_none(record["expires_at"]),
    )
    return _head(record), facts


def _chat(record: Record) -> tuple[Head, Facts]:
    return _head(record), Facts(record["kind"], chat=record["chat"]["jid"], contact=_jid(record["actor"]))


def _contact(record: Record) -> tuple[Head, Facts]:
    return _head(record), Facts(record["kind"], contact=record["contact"]["jid"])


def _limit(record: Record) -> tuple[Head, Facts]:
    facts = Facts(
        f"limit.{record['limit']}",
        error_code=_number(record["reason_code"]),
        reason=_short(record["reason"]),
        until=_time_or_none(record["until"]),
    )
    return _head(record), facts


def _result(record: Record) -> tuple[Head, Facts]:
    error = record["error"] or _NOTHING
    state, revision, when = record["state"], record["revision"], _time(record["occurred_at"])
    event_id = UUID(ids.result_event_id(record["result_id"], revision, state))
    facts = Facts(
        f"result.{state}",
        "out",
        content_type=record["type"],
        chat=record["chat"] or "",
        message_id=record["message_id"] or "",
        error_code=error.get("code", ""),
        reason=_short(error.get("message")),
        final=record["final"],
        # An Avro int, which nothing keeps within 32 bits.
        revision=min(max(revision, _INT32[0]), _INT32[1]),
        until=_time_or_none(record["until"]),
    )
    head = Head(
        event_id,
        when,
        when,
        record["instance_id"],
        record["tenant"] or "",
        session_epoch=record["session_epoch"] or 0,
    )
    return head, facts


_FAMILIES: Mapping[str, tuple[str, Callable[[Record], tuple[Head, Facts]]]] = {
    "events.message": ("message", _message),
    "events.status": ("status", _status),
    "events.session": ("session", _session),
    "events.chat": ("chat", _chat),
    "events.contact": ("contact", _contact),
    "events.limit": ("limit", _limit),
    "results": ("result", _result),
}
TOPICS: tuple[str, ...] = tuple(_FAMILIES)


def _head(record: Record) -> Head:
    envelope = record["envelope"]
    try:
        event_id = UUID(envelope["event_id"])
    except ValueError as cause:
        text = f"event_id is no UUID: {envelope['event_id'][:60]!r}"
        raise PoisonError("api.validation", text, field="envelope.event_id") from cause
    return Head(
        event_id,
        _time(envelope["occurred_at"]),
        _time(envelope["received_at"]),
        envelope["instance_id"],
        envelope["tenant"] or "",
        envelope["generation"],
        envelope["origin"],
        envelope["simulated"],
        envelope["session_epoch"] or 0,
        envelope["seq"] or 0,
    )


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
    return epoch_ms if 0 <= epoch_ms <= LATEST_MS else 0 if epoch_ms < 0 else LATEST_MS


def _time_or_none(epoch_ms: int | None) -> int | None:
    return None if epoch_ms is None else _time(epoch_ms)
