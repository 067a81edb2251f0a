"""The topic table: every topic wharf uses, with its settings, in one place.

Rules (design, section 3): names carry the prefix; instance-keyed topics share one partition count, which is never
changed once topics exist; internal topics are marked so that nobody builds on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
# Key, value and headers of a command or an event (design, section 3).
MAX_RECORD_BYTES = 1_048_576
# What a record that carries another one whole may add to it.
WRAPPING_BYTES = 65_536


class Retention(StrEnum):
    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Topic:
    """`record` is the full name of its Avro record (subject `<topic>-value`), None where values are not Avro."""

    name: str
    record: str | None
    retention: Retention
    retention_ms: int = -1
    keyed_by_instance: bool = True
    internal: bool = False
    append_time: bool = False
    max_record_bytes: int = MAX_RECORD_BYTES
    config: dict[str, str] = field(default_factory=dict)


_STATE = {
    # A reader that was away longer than delete.retention.ms misses tombstones: at least an hour (facts/kafka.md, 5).
    "segment.ms": "10000",
    "segment.bytes": "16777216",
    "min.cleanable.dirty.ratio": "0.2",
    "max.compaction.lag.ms": "30000",
    "delete.retention.ms": str(HOUR_MS),
}


def _log(name: str, record: str, days: float, **kwargs: object) -> Topic:
    return Topic(name, f"wharf.{record}", Retention.DELETE, int(days * DAY_MS), **kwargs)  # type: ignore[arg-type]


TOPICS: tuple[Topic, ...] = (
    _log("commands", "Command", 7, append_time=True),
    _log("commands.admitted", "AdmittedCommand", 7, max_record_bytes=MAX_RECORD_BYTES + WRAPPING_BYTES),
    _log("results", "CommandResult", 30),
    _log("events.message", "MessageEvent", 30),
    _log("events.status", "StatusEvent", 30),
    _log("events.session", "SessionEvent", 30),
    _log("events.chat", "ChatEvent", 30),
    _log("events.contact", "ContactEvent", 30),
    _log("events.limit", "LimitEvent", 30),
    _log("pairing", "PairingEvent", 1 / 24),
    _log("control", "ControlRequest", 7),
    _log("audit", "AuditEvent", 365),
    _log("deadletter", "DeadLetter", 30, max_record_bytes=MAX_RECORD_BYTES + 2 * WRAPPING_BYTES),
    Topic("instances", "wharf.Instance", Retention.COMPACT),
    Topic("sessions", None, Retention.COMPACT, internal=True, config=_STATE),
    # An item may hold a command whole.
    Topic(
        "limits",
        None,
        Retention.COMPACT,
        internal=True,
        max_record_bytes=MAX_RECORD_BYTES + WRAPPING_BYTES,
        config=_STATE,
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def record_limit(name: str) -> int:
    """Largest record of a topic; topics outside the table have the common limit."""
    topic = BY_NAME.get(name)
    return MAX_RECORD_BYTES if topic is None else topic.max_record_bytes
