"""The topic table: every topic wharf uses, with its settings, in one place.

Rules (design, section 3): names carry the prefix; instance-keyed topics share one partition count, which is never
changed once topics exist; internal topics are marked so that nobody builds on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


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
    _log("commands.admitted", "AdmittedCommand", 7),
    _log("results", "CommandResult", 30),
    _log("events.message", "MessageEvent", 30),
    _log("events.status", "StatusEvent", 30),
    _log("events.session", "SessionEvent", 30),
    _log("events.contact", "ContactEvent", 30),
    _log("pairing", "PairingEvent", 1 / 24),
    _log("control", "ControlRequest", 7),
    _log("audit", "AuditEvent", 365),
    _log("deadletter", "DeadLetter", 30),
    Topic("instances", "wharf.Instance", Retention.COMPACT),
    Topic("sessions", None, Retention.COMPACT, internal=True, config=_STATE),
    Topic("limits", None, Retention.COMPACT, internal=True, config=_STATE),
)
